#include "plan/copy_block.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

/// A loop in elements, before neighbours are joined.
struct ElementLoop {
    std::int64_t extent;
    std::int64_t source_stride;
    std::int64_t target_stride;
};

using ElementLoops = boost::container::small_vector<ElementLoop, 4>;

/// Number of the region's first element in a row-major tensor of shape @p shape.
std::int64_t first_target(Region const& region, Shape const& shape) {
    std::int64_t target = 0;
    std::int64_t stride = 1;
    for (std::size_t dim = shape.rank(); dim-- > 0; stride *= shape[dim]) { target += region.axes[dim].begin * stride; }
    return target;
}

ElementLoops element_loops(Region const& region, Shape const& shape) {
    ElementLoops loops;
    std::int64_t stride = 1;
    for (std::size_t dim = shape.rank(); dim-- > 0; stride *= shape[dim]) {
        auto const& axis = region.axes[dim];
        std::int64_t factor_stride = stride;
        for (auto factor = axis.factors.rbegin(); factor != axis.factors.rend(); ++factor) {
            if (factor->extent > 1) { loops.push_back({factor->extent, factor->stride, factor_stride}); }
            factor_stride *= factor->extent;
        }
    }
    return loops;
}

/// Outermost first by place in the source, joined where two loops are one.
ElementLoops joined(ElementLoops loops) {
    std::sort(loops.begin(), loops.end(),
              [](auto const& a, auto const& b) { return a.source_stride > b.source_stride; });
    ElementLoops result;
    for (auto const& loop : loops) {
        bool const continues = !result.empty() && result.back().source_stride == loop.extent * loop.source_stride &&
                               result.back().target_stride == loop.extent * loop.target_stride;
        if (continues) {
            result.back() = {result.back().extent * loop.extent, loop.source_stride, loop.target_stride};
        } else {
            result.push_back(loop);
        }
    }
    return result;
}

/// Elements to bytes; packed types must come out whole.
std::uint64_t to_bytes(std::int64_t elements, DType dtype) {
    auto const total_bits = static_cast<std::uint64_t>(elements) * static_cast<std::uint64_t>(bits(dtype));
    if (total_bits % 8 != 0) {
        throw Error(Errc::input, fmt::format("{} elements are packed {} bits each and would be cut inside a byte",
                                             to_string(dtype), bits(dtype)));
    }
    return total_bits / 8;
}

/// Span in bytes of one step of loop @p level: everything deeper.
std::uint64_t inner_span(CopyBlock const& block, std::size_t level) noexcept {
    std::uint64_t span = block.run_bytes;
    for (std::size_t i = level + 1; i < block.loops.size(); ++i) {
        span += (block.loops[i].count - 1) * block.loops[i].source_stride;
    }
    return span;
}

/// How far apart two elements of a run lie in the target that are @p source_bytes apart in the source.
std::uint64_t target_distance(ElementCast const& cast, std::uint64_t source_bytes) noexcept {
    if (cast.is_move()) { return source_bytes; }
    return source_bytes * 8 / static_cast<std::uint64_t>(bits(cast.from)) * cast.target_step;
}

/// clip() from loop @p level on, of the part that starts at @p source and @p target; outer loops are resolved.
void clip_level(CopyBlock const& block, std::size_t level, std::uint64_t source, std::uint64_t target, ByteRange range,
                std::vector<CopyBlock>& parts) {
    auto const emit = [&](std::uint64_t first_source, std::uint64_t first_target, std::uint64_t run,
                          std::uint64_t count) {
        CopyBlock part{block.tensor, first_source, first_target, run, {}, block.cast};
        part.cast.first_element = element_at(block, first_source);
        if (level < block.loops.size()) {
            if (count > 1) {
                part.loops.push_back({count, block.loops[level].source_stride, block.loops[level].target_stride});
            }
            part.loops.insert(part.loops.end(), block.loops.begin() + static_cast<std::ptrdiff_t>(level) + 1,
                              block.loops.end());
        }
        parts.push_back(std::move(part));
    };
    if (level == block.loops.size()) {
        auto const begin = std::max(source, range.begin);
        auto const end = std::min(source + block.run_bytes, range.end);
        if (begin < end) { emit(begin, target + target_distance(block.cast, begin - source), end - begin, 1); }
        return;
    }
    auto const& loop = block.loops[level];
    auto const span = inner_span(block, level);
    auto const step = [&](std::uint64_t index) { return source + index * loop.source_stride; };
    // Steps [first, last) touch the range; those of them that stick out of it, at most one at each end, are cut deeper.
    auto const first = range.begin < source + span ? 0 : (range.begin - source - span) / loop.source_stride + 1;
    auto const last = range.end <= source ? 0 : std::min(loop.count, (range.end - source - 1) / loop.source_stride + 1);
    auto whole_first = first;
    auto whole_last = last;
    if (first < last && (step(first) < range.begin || step(first) + span > range.end)) {
        clip_level(block, level + 1, step(first), target + first * loop.target_stride, range, parts);
        ++whole_first;
    }
    bool const cuts_last = whole_first < last && step(last - 1) + span > range.end;
    if (cuts_last) { --whole_last; }
    if (whole_first < whole_last) {
        emit(step(whole_first), target + whole_first * loop.target_stride, block.run_bytes, whole_last - whole_first);
    }
    if (cuts_last) {
        clip_level(block, level + 1, step(last - 1), target + (last - 1) * loop.target_stride, range, parts);
    }
}

/// The number of outer loops that must be walked because their steps lie further apart than @p max_gap.
std::size_t separate_loops(CopyBlock const& block, std::uint64_t max_gap) noexcept {
    for (std::size_t level = block.loops.size(); level > 0; --level) {
        if (block.loops[level - 1].source_stride - inner_span(block, level - 1) > max_gap) { return level; }
    }
    return 0;
}

}  // namespace

std::uint64_t CopyBlock::bytes() const noexcept {
    std::uint64_t total = run_bytes;
    for (auto const& loop : loops) { total *= loop.count; }
    return total;
}

std::uint64_t element_at(CopyBlock const& block, std::uint64_t source) noexcept {
    if (block.cast.scaling == kUnscaled) { return block.cast.first_element; }
    return block.cast.first_element + (source - block.source) * 8 / static_cast<std::uint64_t>(bits(block.cast.from));
}

std::uint64_t CopyBlock::target_bytes() const noexcept {
    if (cast.is_move()) { return bytes(); }
    return bytes() * 8 / static_cast<std::uint64_t>(bits(cast.from)) * static_cast<std::uint64_t>(bits(cast.to)) / 8;
}

std::uint64_t CopyBlock::source_span() const noexcept {
    std::uint64_t span = run_bytes;
    for (auto const& loop : loops) { span += (loop.count - 1) * loop.source_stride; }
    return span;
}

std::uint64_t CopyBlock::target_span() const noexcept {
    if (bytes() == 0) { return 0; }
    auto span = run_bytes;
    if (!cast.is_move()) {
        auto const elements = run_bytes * 8 / static_cast<std::uint64_t>(bits(cast.from));
        span = (elements - 1) * cast.target_step + (static_cast<std::uint64_t>(bits(cast.to)) + 7) / 8;
    }
    for (auto const& loop : loops) { span += (loop.count - 1) * loop.target_stride; }
    return span;
}

CopyBlock lower(Region const& region, Shape const& shape, DType dtype) {
    auto loops = joined(element_loops(region, shape));
    std::int64_t run = 1;
    std::int64_t step = 1;
    auto const source_type = region.dtype.value_or(dtype);
    bool const is_move = source_type == dtype;
    if (!loops.empty() && loops.back().source_stride == 1 && (!is_move || loops.back().target_stride == 1)) {
        run = loops.back().extent;
        step = loops.back().target_stride;
        loops.pop_back();
    }
    CopyBlock block;
    block.source = to_bytes(region.offset, source_type);
    block.target = to_bytes(first_target(region, shape), dtype);
    block.run_bytes = to_bytes(run, source_type);
    for (auto const& loop : loops) {
        block.loops.push_back({static_cast<std::uint64_t>(loop.extent), to_bytes(loop.source_stride, source_type),
                               to_bytes(loop.target_stride, dtype)});
    }
    if (!is_move) {
        block.cast = {.from = source_type,
                      .to = dtype,
                      .scaling = region.scales.value_or(kUnscaled),
                      .target_step = to_bytes(step, dtype),
                      .first_element = static_cast<std::uint64_t>(region.offset)};
    }
    return block;
}

namespace {

/// Whether two regions differ in nothing but their tensors and where they begin.
bool differ_in_place_only(Region const& a, Region const& b) noexcept {
    return a.dtype == b.dtype && std::ranges::equal(a.axes, b.axes, [](Axis const& x, Axis const& y) {
               return x.extent == y.extent && std::ranges::equal(x.factors, y.factors);
           });
}

}  // namespace

CopyBlock const& Lowering::block(Region const& region) {
    if (last_ != nullptr && differ_in_place_only(*last_, region)) {
        move_to(region);
    } else {
        block_ = lower(region, shape_, dtype_);
    }
    last_ = &region;
    return block_;
}

void Lowering::move_to(Region const& region) {
    block_.source = to_bytes(region.offset, region.dtype.value_or(dtype_));
    block_.target = to_bytes(first_target(region, shape_), dtype_);
    if (block_.cast.is_move()) { return; }
    block_.cast.scaling = region.scales.value_or(kUnscaled);
    block_.cast.first_element = static_cast<std::uint64_t>(region.offset);
}

CopyBlock swapped(CopyBlock block) {
    std::swap(block.source, block.target);
    for (auto& loop : block.loops) { std::swap(loop.source_stride, loop.target_stride); }
    std::sort(block.loops.begin(), block.loops.end(),
              [](CopyLoop const& a, CopyLoop const& b) { return a.source_stride > b.source_stride; });
    return block;
}

void clip(CopyBlock const& block, ByteRange range, std::vector<CopyBlock>& parts) {
    if (range.begin <= block.source && block.source + block.source_span() <= range.end) {
        parts.push_back(block);
        return;
    }
    clip_level(block, 0, block.source, block.target, range, parts);
}

void source_ranges(CopyBlock const& block, std::uint64_t max_gap, std::vector<ByteRange>& ranges) {
    auto const separate = separate_loops(block, max_gap);
    auto const span = separate == 0 ? block.source_span() : inner_span(block, separate - 1);
    std::vector<std::uint64_t> index(separate, 0);
    for (;;) {
        std::uint64_t begin = block.source;
        for (std::size_t level = 0; level < separate; ++level) {
            begin += index[level] * block.loops[level].source_stride;
        }
        ranges.push_back({begin, begin + span});
        std::size_t level = separate;
        while (level > 0 && ++index[level - 1] == block.loops[level - 1].count) { index[--level] = 0; }
        if (level == 0) { return; }
    }
}

RangeEstimate estimate_ranges(CopyBlock const& block, std::uint64_t max_gap) noexcept {
    auto const separate = separate_loops(block, max_gap);
    RangeEstimate estimate{1, separate == 0 ? block.source_span() : inner_span(block, separate - 1)};
    for (std::size_t level = 0; level < separate; ++level) { estimate.ranges *= block.loops[level].count; }
    estimate.bytes *= estimate.ranges;
    return estimate;
}

}  // namespace shardwise
