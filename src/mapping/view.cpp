#include "mapping/view.hpp"

#include <algorithm>
#include <utility>

#include "util/checked.hpp"

namespace shardwise {
namespace {

using Factors = boost::container::small_vector<Factor, 2>;

std::int64_t product(Factors const& factors, std::size_t first) {
    std::int64_t result = 1;
    for (std::size_t i = first; i < factors.size(); ++i) { result *= factors[i].extent; }
    return result;
}

/// Drops loops of one step and joins neighbours that together are one evenly spaced loop.
void simplify(Factors& factors) {
    Factors kept;
    for (auto const& factor : factors) {
        if (factor.extent == 1) { continue; }
        if (!kept.empty() && kept.back().stride == factor.extent * factor.stride) {
            kept.back() = {kept.back().extent * factor.extent, factor.stride};
        } else {
            kept.push_back(factor);
        }
    }
    if (kept.empty()) { kept.push_back({1, 0}); }
    factors = std::move(kept);
}

/// A part of an axis: its loops, and how far its first element lies from the axis' first.
struct AxisPart {
    std::int64_t begin = 0;  ///< relative to the axis
    std::int64_t extent = 0;
    std::int64_t offset = 0;  ///< in source elements
    Factors factors;
};

/// Cuts steps [lo, hi) out of the nested loops factors[level..]; at most one part before, within and after the whole
/// rounds of each level. Appends in order.
void cut_loops(Factors const& factors, std::size_t level, std::int64_t lo, std::int64_t hi, AxisPart const& at,
               std::vector<AxisPart>& parts) {
    if (lo >= hi) { return; }
    auto const emit = [&](std::int64_t first, std::int64_t count, std::int64_t inner) {
        AxisPart part = at;
        part.begin += first * inner;
        part.extent = count * inner;
        part.offset += first * factors[level].stride;
        part.factors.assign(1, {count, factors[level].stride});
        part.factors.insert(part.factors.end(), factors.begin() + static_cast<std::ptrdiff_t>(level) + 1,
                            factors.end());
        parts.push_back(std::move(part));
    };
    if (level + 1 == factors.size()) { return emit(lo, hi - lo, 1); }

    auto const inner = product(factors, level + 1);
    auto const descend = [&](std::int64_t round, std::int64_t from, std::int64_t to) {
        AxisPart inside = at;
        inside.begin += round * inner;
        inside.offset += round * factors[level].stride;
        cut_loops(factors, level + 1, from, to, inside, parts);
    };
    auto const first = lo / inner;
    auto const last = (hi - 1) / inner;
    if (first == last) { return descend(first, lo - first * inner, hi - first * inner); }
    auto const whole_first = lo % inner == 0 ? first : first + 1;
    auto const whole_last = hi % inner == 0 ? last + 1 : last;
    if (whole_first > first) { descend(first, lo - first * inner, inner); }
    if (whole_last > whole_first) { emit(whole_first, whole_last - whole_first, inner); }
    if (whole_last <= last) { descend(last, 0, hi - last * inner); }
}

/// The parts of @p axis inside [begin, end) of the view's dimension.
std::vector<AxisPart> cut_axis(Axis const& axis, std::int64_t begin, std::int64_t end) {
    auto const lo = std::max(begin, axis.begin) - axis.begin;
    auto const hi = std::min(end, axis.begin + axis.extent) - axis.begin;
    std::vector<AxisPart> parts;
    cut_loops(axis.factors, 0, lo, hi, {}, parts);
    for (auto& part : parts) {
        part.begin += axis.begin;
        simplify(part.factors);
    }
    return parts;
}

Region with_axis(Region const& region, std::size_t dim, AxisPart part, std::int64_t new_begin) {
    Region result = region;
    result.offset += part.offset;
    result.axes[dim] = {new_begin, part.extent, std::move(part.factors)};
    return result;
}

/// Cuts an axis of one loop to [begin, end) of the view's dimension, which touches it, and counts from begin. Nearly
/// every axis is of this kind.
void narrow(Region& region, std::size_t dim, std::int64_t begin, std::int64_t end) {
    auto& axis = region.axes[dim];
    auto const lo = std::max(begin - axis.begin, std::int64_t{0});
    auto const hi = std::min(end - axis.begin, axis.extent);
    auto& loop = axis.factors.front();
    region.offset += lo * loop.stride;
    loop = hi - lo == 1 ? Factor{1, 0} : Factor{hi - lo, loop.stride};
    axis.begin = std::max(axis.begin - begin, std::int64_t{0});
    axis.extent = hi - lo;
}

/// Where to cut a list of loops so that the ones from there on make exactly @p inner steps, splitting one loop in two
/// if that is what it takes. Nothing if no such place exists: 3 x 4 loops cannot be cut into rounds of 6.
bool align_loops(Factors& factors, std::int64_t inner, std::size_t& cut) {
    std::int64_t steps = 1;
    for (cut = factors.size(); cut > 0 && steps < inner; --cut) {
        auto& factor = factors[cut - 1];
        if (inner % steps != 0) { return false; }
        auto const missing = inner / steps;
        if (factor.extent > missing) {
            if (factor.extent % missing != 0) { return false; }
            Factor const outer = {factor.extent / missing, factor.stride * missing};
            factor.extent = missing;
            factors.push_back(outer);
            std::rotate(factors.begin() + static_cast<std::ptrdiff_t>(cut) - 1, factors.end() - 1, factors.end());
            return true;
        }
        steps *= factor.extent;
    }
    return steps == inner;
}

void insert_axis(Region& region, std::size_t dim, Axis axis) {
    region.axes.push_back(std::move(axis));
    std::rotate(region.axes.begin() + static_cast<std::ptrdiff_t>(dim), region.axes.end() - 1, region.axes.end());
}

/// Replaces axis @p dim by two that cover the box [outer_begin, +outer_extent) x [inner_begin, +inner_extent).
void put_split_axes(Region& region, std::size_t dim, Axis outer, Axis inner) {
    simplify(outer.factors);
    simplify(inner.factors);
    region.axes[dim] = std::move(outer);
    insert_axis(region, dim + 1, std::move(inner));
}

/// Splits a region along axis @p dim, in one piece if its loops allow it, else round by round of @p inner.
void split_part(Region part, std::size_t dim, std::int64_t inner, std::vector<Region>& out) {
    Axis const axis = part.axes[dim];
    auto const end = axis.begin + axis.extent;
    auto const round = axis.begin / inner;
    if (end <= (round + 1) * inner) {
        put_split_axes(part, dim, {round, 1, {{1, 0}}}, {axis.begin - round * inner, axis.extent, axis.factors});
        out.push_back(std::move(part));
        return;
    }
    Factors factors = axis.factors;
    std::size_t cut = 0;
    bool const is_whole_rounds = axis.begin % inner == 0 && axis.extent % inner == 0;
    if (is_whole_rounds && align_loops(factors, inner, cut)) {
        auto const middle = factors.begin() + static_cast<std::ptrdiff_t>(cut);
        put_split_axes(part, dim, {round, axis.extent / inner, Factors(factors.begin(), middle)},
                       {0, inner, Factors(middle, factors.end())});
        out.push_back(std::move(part));
        return;
    }
    for (auto at = axis.begin; at < end; at = (at / inner + 1) * inner) {
        for (auto& piece : cut_axis(axis, at, (at / inner + 1) * inner)) {
            auto const begin = piece.begin;
            split_part(with_axis(part, dim, std::move(piece), begin), dim, inner, out);
        }
    }
}

/// Merges axes @p dim and dim + 1 of a region, of which the second covers its whole dimension or the first one index.
void merge_part(Region part, std::size_t dim, std::int64_t inner_extent, std::vector<Region>& out) {
    Axis outer = std::move(part.axes[dim]);
    Axis inner = std::move(part.axes[dim + 1]);
    Axis merged;
    merged.begin = outer.begin * inner_extent + inner.begin;
    merged.extent = outer.extent * inner.extent;
    merged.factors = std::move(outer.factors);
    merged.factors.insert(merged.factors.end(), inner.factors.begin(), inner.factors.end());
    simplify(merged.factors);
    part.axes[dim] = std::move(merged);
    part.axes.erase(part.axes.begin() + static_cast<std::ptrdiff_t>(dim) + 1);
    out.push_back(std::move(part));
}

}  // namespace

View whole(std::uint32_t source, Shape const& shape) {
    View view{shape, {}};
    if (shape.num_elements() == 0) { return view; }
    Region region;
    region.source = source;
    std::int64_t stride = 1;
    region.axes.resize(shape.rank());
    for (std::size_t dim = shape.rank(); dim-- > 0; stride *= shape[dim]) {
        region.axes[dim] = {0, shape[dim], {{shape[dim], stride}}};
    }
    view.regions.push_back(std::move(region));
    return view;
}

View slice(View const& view, std::size_t dim, std::int64_t begin, std::int64_t end) {
    View result{view.shape, {}};
    result.shape[dim] = end - begin;
    result.regions.reserve(view.regions.size());
    for (auto const& region : view.regions) {
        auto const& axis = region.axes[dim];
        if (std::max(axis.begin, begin) >= std::min(axis.begin + axis.extent, end)) { continue; }
        if (axis.factors.size() == 1) {
            result.regions.push_back(region);
            narrow(result.regions.back(), dim, begin, end);
            continue;
        }
        for (auto& part : cut_axis(axis, begin, end)) {
            auto const new_begin = part.begin - begin;
            result.regions.push_back(with_axis(region, dim, std::move(part), new_begin));
        }
    }
    return result;
}

void append(View& joined, View const& part, std::size_t dim) {
    for (auto const& region : part.regions) {
        joined.regions.push_back(region);
        joined.regions.back().axes[dim].begin += joined.shape[dim];
    }
    joined.shape[dim] += part.shape[dim];
}

View unsqueeze(View view, std::size_t dim) {
    view.shape = view.shape.with_inserted(dim, 1);
    for (auto& region : view.regions) { insert_axis(region, dim, {0, 1, {{1, 0}}}); }
    return view;
}

View squeeze(View view, std::size_t dim) {
    view.shape = view.shape.without(dim);
    for (auto& region : view.regions) { region.axes.erase(region.axes.begin() + static_cast<std::ptrdiff_t>(dim)); }
    return view;
}

View transpose(View view, std::size_t dim0, std::size_t dim1) {
    std::swap(view.shape[dim0], view.shape[dim1]);
    for (auto& region : view.regions) { std::swap(region.axes[dim0], region.axes[dim1]); }
    return view;
}

View split_dim(View const& view, std::size_t dim, std::int64_t inner) {
    View result{view.shape, {}};
    result.shape[dim] /= std::max<std::int64_t>(inner, 1);
    result.shape = result.shape.with_inserted(dim + 1, inner);
    for (auto const& region : view.regions) {
        // Partial rounds at both ends come apart from the whole ones between them.
        auto const& axis = region.axes[dim];
        auto const end = axis.begin + axis.extent;
        auto const whole_begin = std::min(ceil_div(axis.begin, inner) * inner, end);
        auto const whole_end = std::max(end / inner * inner, whole_begin);
        auto const split_between = [&](std::int64_t from, std::int64_t to) {
            for (auto& part : cut_axis(axis, from, to)) {
                auto const begin = part.begin;
                split_part(with_axis(region, dim, std::move(part), begin), dim, inner, result.regions);
            }
        };
        split_between(axis.begin, whole_begin);
        split_between(whole_begin, whole_end);
        split_between(whole_end, end);
    }
    return result;
}

View merge_dims(View const& view, std::size_t dim) {
    View result{view.shape.without(dim + 1), {}};
    auto const inner_extent = view.shape[dim + 1];
    result.shape[dim] = view.shape[dim] * inner_extent;
    for (auto const& region : view.regions) {
        auto const& outer = region.axes[dim];
        if (outer.extent == 1 || region.axes[dim + 1].extent == inner_extent) {
            merge_part(region, dim, inner_extent, result.regions);
            continue;
        }
        for (auto index = outer.begin; index < outer.begin + outer.extent; ++index) {
            for (auto& part : cut_axis(outer, index, index + 1)) {
                merge_part(with_axis(region, dim, std::move(part), index), dim, inner_extent, result.regions);
            }
        }
    }
    return result;
}

}  // namespace shardwise
