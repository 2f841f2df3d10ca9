#include "plan/demand.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fnmatch.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

constexpr std::uint32_t kNoUse = ~std::uint32_t{0};

/// Index of the first priority pattern that fits; after all of them if none does.
std::size_t priority_class(std::span<std::string const> patterns, std::string const& name) {
    auto const found = std::find_if(patterns.begin(), patterns.end(), [&](std::string const& pattern) {
        return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
    });
    return static_cast<std::size_t>(found - patterns.begin());
}

ByteRange source_bytes(Region const& region, std::uint64_t element_bits) {
    std::int64_t last = region.offset;
    for (auto const& axis : region.axes) {
        for (auto const& factor : axis.factors) { last += (factor.extent - 1) * factor.stride; }
    }
    auto const begin_bit = static_cast<std::uint64_t>(region.offset) * element_bits;
    auto const end_bit = static_cast<std::uint64_t>(last + 1) * element_bits;
    return {begin_bit / 8, (end_bit + 7) / 8};
}

bool is_whole(Placement const& placement) {
    return std::all_of(placement.blocks.begin(), placement.blocks.end(),
                       [](auto const& block) { return block.parts == 1; });
}

}  // namespace

std::vector<SourceBlock> blocks_of(Parameter const& parameter, View const& view, std::uint32_t tensor,
                                   std::int64_t tp_rank) {
    std::vector<SourceBlock> blocks;
    auto const dtype = parameter.value.dtype;
    auto const add = [&](View const& part, Shape const& shape) {
        for (auto const& region : part.regions) {
            auto block = lower(region, shape, dtype);
            block.tensor = tensor;
            blocks.push_back({region.source, std::move(block)});
        }
    };
    if (is_whole(parameter.placement)) {
        add(view, view.shape);
        return blocks;
    }
    auto const dim = parameter.placement.dim;
    auto const shape = local_shape(parameter.placement, view.shape, tp_rank);
    std::int64_t at = 0;
    for (auto const& range : held_ranges(parameter.placement, tp_rank)) {
        auto part = slice(view, dim, range.begin, range.end);
        for (auto& region : part.regions) { region.axes[dim].begin += at; }
        add(part, shape);
        at += range.size();
    }
    return blocks;
}

Demand::Demand(Catalog const& catalog, Parameters parameters, DemandOptions const& options)
    : parameters_(std::move(parameters.list)), cache_limit_(static_cast<std::size_t>(options.tp) + 8) {
    std::stable_sort(parameters_.begin(), parameters_.end(), [&](Parameter const& a, Parameter const& b) {
        return priority_class(options.priority, a.name) < priority_class(options.priority, b.name);
    });
    std::vector<std::uint32_t> use_of_source(catalog.tensors().size(), kNoUse);
    for (std::uint32_t tensor = 0; tensor < parameters_.size(); ++tensor) {
        try {
            add_uses(tensor, use_of_source, options.max_gap);
        } catch (Error const& error) { throw error.while_(parameters_[tensor].name); }
    }
}

void Demand::add_uses(std::uint32_t tensor, std::vector<std::uint32_t>& use_of_source, std::uint64_t max_gap) {
    auto const& parameter = parameters_[tensor];
    auto const view = evaluate(parameter.value);
    auto const use_of = [&](std::uint32_t source) -> SourceUse& {
        if (use_of_source[source] == kNoUse) {
            use_of_source[source] = static_cast<std::uint32_t>(uses_.size());
            uses_.push_back({.source = source, .tensors = {}, .needed = {~std::uint64_t{0}, 0}});
        }
        return uses_[use_of_source[source]];
    };
    for (auto const& region : view.regions) {
        auto& use = use_of(region.source);
        auto const dtype = region.dtype.value_or(parameter.value.dtype);
        auto const bytes = source_bytes(region, static_cast<std::uint64_t>(bits(dtype)));
        if (dtype != parameter.value.dtype) { use.unit_bytes = unit_bytes(dtype); }
        use.needed = {std::min(use.needed.begin, bytes.begin), std::max(use.needed.end, bytes.end)};
        use.is_whole_everywhere = use.is_whole_everywhere && is_whole(parameter.placement);
        if (use.tensors.empty() || use.tensors.back() != tensor) { use.tensors.push_back(tensor); }
    }
    for (auto const& [source, block] : blocks_of(parameter, view, tensor, 0)) {
        auto& use = use_of(source);
        auto const estimate = estimate_ranges(block, max_gap);
        use.direct.ranges += estimate.ranges;
        use.direct.bytes += estimate.bytes;
        use.used_bytes += block.bytes();
        use.runs += block.runs();
    }
}

Demand::CachedBlocks const& Demand::cached(std::uint32_t tensor, std::int64_t tp_rank) {
    auto const found = std::find_if(cache_.begin(), cache_.end(),
                                    [&](auto const& c) { return c.tensor == tensor && c.tp_rank == tp_rank; });
    if (found != cache_.end()) {
        std::rotate(cache_.begin(), found, found + 1);
        return cache_.front();
    }
    if (cache_.size() >= cache_limit_) { cache_.pop_back(); }
    CachedBlocks entry{tensor, tp_rank,
                       blocks_of(parameters_[tensor], evaluate(parameters_[tensor].value), tensor, tp_rank)};
    std::sort(entry.blocks.begin(), entry.blocks.end(), [](SourceBlock const& a, SourceBlock const& b) {
        return std::pair(a.source, a.block.source) < std::pair(b.source, b.block.source);
    });
    cache_.insert(cache_.begin(), std::move(entry));
    return cache_.front();
}

std::vector<CopyBlock> Demand::blocks_for(SourceUse const& use, std::int64_t tp_rank) {
    std::vector<CopyBlock> result;
    for (auto const tensor : use.tensors) {
        auto const& blocks = cached(tensor, tp_rank).blocks;
        auto at = std::lower_bound(blocks.begin(), blocks.end(), use.source,
                                   [](SourceBlock const& b, std::uint32_t source) { return b.source < source; });
        for (; at != blocks.end() && at->source == use.source; ++at) { result.push_back(at->block); }
    }
    if (use.tensors.size() > 1) {
        std::stable_sort(result.begin(), result.end(),
                         [](CopyBlock const& a, CopyBlock const& b) { return a.source < b.source; });
    }
    return result;
}

}  // namespace shardwise
