#include "convert/place_grid.hpp"

#include "convert/grid_launch.hpp"
#include "convert/place_kernel.hpp"

namespace shardwise {
namespace {

/// A job over the loops of @p block; targets of its runs, and their elements, count from its first one.
GridJob job_of(CopyBlock const& block) {
    GridJob job;
    job.run = block.run_bytes;
    auto const element_bits = static_cast<std::uint64_t>(bits(block.cast.from));
    for (auto const& loop : block.loops) {
        auto const elements = loop.source_stride * 8 / element_bits;
        job.steps.push_back({loop.count, loop.source_stride, loop.target_stride, elements});
    }
    return job;
}

void set_cast(GridJob& job, CopyBlock const& block, BlockScaling const* scaling) {
    if (block.cast.is_move()) { return; }
    job.from = block.cast.from;
    job.to = block.cast.to;
    job.run = block.run_bytes / unit_bytes(job.from);
    job.target_step = block.cast.target_step;
    job.element = block.cast.first_element;
    job.scaling = scaling;
}

/// Sets a stride of every step to what it is where runs follow each other.
template <class Stride>
void set_packed(GridJob& job, std::uint64_t run_bytes, Stride stride) {
    auto next = run_bytes;
    for (auto step = job.steps.rbegin(); step != job.steps.rend(); ++step) {
        (*step).*stride = next;
        next *= step->count;
    }
}

}  // namespace

void PlaceGrid::add_place(CopyBlock const& block, std::byte const* source, std::byte* target,
                          BlockScaling const* scaling) {
    auto job = job_of(block);
    set_cast(job, block, scaling);
    job.source = source + block.source;
    job.target = target + block.target;
    list_.add(std::move(job));
}

std::uint64_t PlaceGrid::add_unpack(CopyBlock const& block, std::byte const* packed, std::byte* target,
                                    BlockScaling const* scaling) {
    auto job = job_of(block);
    set_cast(job, block, scaling);
    set_packed(job, block.run_bytes, &GridStep::source_stride);
    job.source = packed;
    job.target = target + block.target;
    list_.add(std::move(job));
    return block.bytes();
}

std::uint64_t PlaceGrid::add_pack(CopyBlock const& block, std::byte const* source, std::byte* packed) {
    auto job = job_of(block);
    set_packed(job, block.run_bytes, &GridStep::target_stride);
    job.source = source + block.source;
    job.target = packed;
    list_.add(std::move(job));
    return block.bytes();
}

void run_place_grid(Stream& stream, GridBlock const* blocks, GridSize size) {
    if (size.tiles == 0) { return; }
    PlaceKernel const kernel = {blocks, size};
    if (stream.native() != nullptr) { return launch(kernel, size.tiles, stream.native()); }
    stream.run([kernel] { run_on_host(kernel, kernel.size.tiles); });
}

}  // namespace shardwise
