#include "convert/digest_grid.hpp"

#include <algorithm>

#include "convert/digest_kernel.hpp"
#include "convert/grid_launch.hpp"

namespace shardwise {

void DigestGrid::add(DigestPart const& part) {
    auto const& block = part.block;
    std::uint64_t const unit = part.unit_bytes;
    GridJob job;
    job.source = part.local + block.target;
    job.element = block.source / unit;
    job.run = block.run_bytes / unit;
    job.target_step = 0;
    for (auto const& loop : block.loops) {
        job.steps.push_back({loop.count, loop.target_stride, 0, loop.source_stride / unit});
    }
    list_.add_digest(std::move(job), part.unit_bytes, part.result);
}

void run_digest_grid(Stream& stream, GridBlock const* blocks, GridSize size, std::span<std::uint64_t> sums) {
    DigestKernel const kernel = {blocks, size, sums.data()};
    if (stream.native() != nullptr) {
        clear(std::as_writable_bytes(sums), stream.native());
        if (size.tiles > 0) { launch(kernel, size.tiles, stream.native()); }
        return;
    }
    stream.run([kernel, sums] {
        std::fill(sums.begin(), sums.end(), 0);
        run_on_host(kernel, kernel.size.tiles);
    });
}

}  // namespace shardwise
