#include "convert/place_cast.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "convert/cast.hpp"
#include "convert/runs.hpp"
#include "plan/copy_block.hpp"

namespace shardwise {
namespace {

/// Source bytes converted at a time where elements are gathered or scattered; holds whole units of every type.
constexpr std::size_t kStretchBytes = 3 * 1024;
constexpr std::size_t kGreatestGrowth = 16;  ///< F4 to F64

using Stretch = std::array<std::byte, kStretchBytes>;
using Converted = std::array<std::byte, kStretchBytes * kGreatestGrowth>;

template <std::size_t Bytes>
void scatter(std::byte const* elements, std::size_t count, std::byte* target, std::uint64_t step) {
    for (std::size_t i = 0; i < count; ++i) { std::memcpy(target + i * step, elements + i * Bytes, Bytes); }
}

void put_elements(std::byte const* elements, std::size_t count, std::size_t element_bytes, std::byte* target,
                  std::uint64_t step) {
    if (step == element_bytes) {
        std::memcpy(target, elements, count * element_bytes);
        return;
    }
    switch (element_bytes) {
        case 1: return scatter<1>(elements, count, target, step);
        case 2: return scatter<2>(elements, count, target, step);
        case 4: return scatter<4>(elements, count, target, step);
        default: return scatter<8>(elements, count, target, step);
    }
}

std::size_t size_of(DType dtype) { return static_cast<std::size_t>(bits(dtype)) / 8; }

/// How the elements of a block become others.
struct Conversion {
    CopyBlock const& block;
    BlockScaling const* scaling;

    ElementCast const& type() const noexcept { return block.cast; }

    /// @param element number of the first one in its stored tensor.
    void operator()(std::span<std::byte const> elements, std::uint64_t element, std::span<std::byte> converted) const {
        if (scaling == nullptr) { return cast(type().from, elements, type().to, converted); }
        dequantize(scaling->grid, scaling->scales, element, type().from, elements, type().to, converted);
    }
};

/// A run whose elements lie apart in the target, stretch by stretch.
void spread_run(Conversion const& convert, std::span<std::byte const> run, std::uint64_t element, std::byte* target) {
    Converted converted;
    auto const element_bytes = size_of(convert.type().to);
    while (!run.empty()) {
        auto const part = run.first(std::min(run.size(), kStretchBytes));
        auto const count = elements_in(convert.type().from, part.size());
        convert(part, element, std::span(converted).first(count * element_bytes));
        put_elements(converted.data(), count, element_bytes, target, convert.type().target_step);
        target += count * convert.type().target_step;
        element += count;
        run = run.subspan(part.size());
    }
}

void convert_run(Conversion const& convert, std::span<std::byte const> run, std::uint64_t element, std::byte* target) {
    auto const element_bytes = size_of(convert.type().to);
    if (convert.type().target_step != element_bytes) { return spread_run(convert, run, element, target); }
    convert(run, element, {target, elements_in(convert.type().from, run.size()) * element_bytes});
}

/// Short runs of one loop: as many as fit are gathered, cast together and put where they belong.
void cast_short_runs(CopyBlock const& block, CopyLoop const& loop, std::byte const* source, std::byte* target) {
    Stretch gathered;
    Converted converted;
    auto const element_bytes = size_of(block.cast.to);
    auto const in_run = elements_in(block.cast.from, block.run_bytes);
    for (std::uint64_t done = 0; done < loop.count;) {
        auto const runs = std::min<std::uint64_t>(loop.count - done, kStretchBytes / block.run_bytes);
        for (std::uint64_t i = 0; i < runs; ++i) {
            std::memcpy(gathered.data() + i * block.run_bytes, source + (done + i) * loop.source_stride,
                        block.run_bytes);
        }
        cast(block.cast.from, std::span(gathered).first(runs * block.run_bytes), block.cast.to,
             std::span(converted).first(runs * in_run * element_bytes));
        for (std::uint64_t i = 0; i < runs; ++i) {
            put_elements(converted.data() + i * in_run * element_bytes, in_run, element_bytes,
                         target + (done + i) * loop.target_stride, block.cast.target_step);
        }
        done += runs;
    }
}

constexpr std::uint64_t kShortRun = 256;  ///< bytes; longer ones are worth a call each

/// One round of the innermost loop; its first run begins at offset @p at of the block's source, and lies at @p source.
/// @param source_stride between runs where they lie now.
void convert_row(Conversion const& convert, std::uint64_t at, std::byte const* source, std::uint64_t source_stride,
                 std::byte* target) {
    auto const& block = convert.block;
    auto const loop = innermost_loop(block);
    if (convert.scaling == nullptr && block.run_bytes < kShortRun && loop.count > 1) {
        return cast_short_runs(block, {loop.count, source_stride, loop.target_stride}, source, target);
    }
    for (std::uint64_t i = 0; i < loop.count; ++i) {
        convert_run(convert, {source + i * source_stride, block.run_bytes},
                    element_at(block, at + i * loop.source_stride), target + i * loop.target_stride);
    }
}

}  // namespace

void place_cast(CopyBlock const& block, std::byte const* source, std::byte* target, BlockScaling const* scaling) {
    Conversion const convert = {block, scaling};
    auto const stride = innermost_loop(block).source_stride;
    for_each_row(block, [&](std::uint64_t from, std::uint64_t to) {
        convert_row(convert, from, source + from, stride, target + to);
    });
}

void unpack_cast(CopyBlock const& block, std::byte const* packed, std::byte* target, BlockScaling const* scaling) {
    Conversion const convert = {block, scaling};
    auto const row_bytes = innermost_loop(block).count * block.run_bytes;
    for_each_row(block, [&](std::uint64_t from, std::uint64_t to) {
        convert_row(convert, from, packed, block.run_bytes, target + to);
        packed += row_bytes;
    });
}

void cast_run_reference(CopyBlock const& block, BlockScaling const* scaling, std::uint64_t source,
                        std::span<std::byte const> run, std::span<std::byte> target) {
    auto const& type = block.cast;
    auto const element_bytes = size_of(type.to);
    std::vector<std::byte> converted(elements_in(type.from, run.size()) * element_bytes);
    if (scaling == nullptr) {
        cast_reference(type.from, run, type.to, converted);
    } else {
        dequantize_reference(scaling->grid, scaling->scales, element_at(block, source), type.from, run, type.to,
                             converted);
    }
    for (std::size_t i = 0; i * element_bytes < converted.size(); ++i) {
        std::memcpy(target.subspan(i * type.target_step, element_bytes).data(), converted.data() + i * element_bytes,
                    element_bytes);
    }
}

}  // namespace shardwise
