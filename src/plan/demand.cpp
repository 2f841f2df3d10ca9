#include "plan/demand.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/tiling.hpp"
#include "plan/read_order.hpp"
#include "util/checked.hpp"
#include "util/digits.hpp"

namespace shardwise {
namespace {

constexpr std::uint32_t kNoUse = ~std::uint32_t{0};

ByteRange source_bytes(Region const& region, std::uint64_t element_bits) {
    std::int64_t last = region.offset;
    for (auto const& axis : region.axes) {
        for (auto const& factor : axis.factors) { last += (factor.extent - 1) * factor.stride; }
    }
    auto const begin_bit = static_cast<std::uint64_t>(region.offset) * element_bits;
    auto const end_bit = static_cast<std::uint64_t>(last + 1) * element_bits;
    return {begin_bit / 8, (end_bit + 7) / 8};
}

/// About which share of the ranks needs any of @p box, the extents of a box of the parameter.
double readers_share(Parameter const& parameter, Mesh const& mesh, Shape box) {
    auto extents = parameter.value.shape;
    double share = 1;
    for (auto const& cut : parameter.placement.cuts) {
        auto const ranks = mesh.size(cut.axis);
        auto const blocks =
            cut.blocks.empty() ? std::vector<Placement::Block>{{extents[cut.dim], ranks, 1}} : cut.blocks;
        std::int64_t left = 0;
        std::int64_t least = extents[cut.dim];
        std::int64_t repeat = 1;
        for (auto const& block : blocks) {
            auto const piece = ceil_div(block.size, block.parts);
            left += piece;
            if (piece > 0) { least = std::min(least, piece); }
            repeat = std::max(repeat, block.repeat);
        }
        if (least == 0) { return 0; }
        auto const touched = std::min(ranks, ceil_div(box[cut.dim], least) * repeat);
        share *= static_cast<double>(touched) / static_cast<double>(ranks);
        box[cut.dim] = std::min(box[cut.dim], left);
        extents[cut.dim] = left;
    }
    return share;
}

/// The layer that a parameter is in, such as "model.layers.3"; empty for those outside of layers.
std::string_view layer_of(std::string_view name) {
    for (std::size_t begin = 0; begin < name.size();) {
        auto const end = std::min(name.find('.', begin), name.size());
        auto const segment = name.substr(begin, end - begin);
        if (!segment.empty() && std::ranges::all_of(segment, is_digit)) { return name.substr(0, end); }
        begin = end + 1;
    }
    return {};
}

Shape extents_of(Region const& region) {
    boost::container::small_vector<std::int64_t, Shape::kMaxRank> extents;
    for (auto const& axis : region.axes) { extents.push_back(axis.extent); }
    return Shape(std::span<std::int64_t const>(extents.data(), extents.size()));
}

/// The stages that hold a parameter, all of them spelt out.
Stages stages_of(Placement const& placement, Mesh const& mesh) {
    if (!placement.stages.empty()) { return {placement.stages.begin(), placement.stages.end()}; }
    Stages stages(static_cast<std::size_t>(mesh.pp));
    std::iota(stages.begin(), stages.end(), 0);
    return stages;
}

}  // namespace

Demand::Demand(Catalog const& catalog, Parameters parameters, DemandOptions const& options)
    : mesh_(options.mesh), parameters_(std::move(parameters.list)), use_of_source_(catalog.tensors().size(), kNoUse) {
    sort_by_priority(PriorityClasses(options.priority));
    uses_.reserve(catalog.tensors().size());
    for (std::uint32_t tensor = 0; tensor < parameters_.size(); ++tensor) {
        try {
            add_uses(tensor, options.max_gap);
        } catch (Error const& error) { throw error.while_(parameters_[tensor].name); }
    }
    sort_by_place(catalog, options.files_at_once);
}

/// Experts, and codes and scales, lie side by side in files but go into different parameters: within a layer, stored
/// tensors come as they lie there, so that one read takes many. Layers stay in their order, and so do priorities.
void Demand::sort_by_place(Catalog const& catalog, std::uint32_t files_at_once) {
    std::vector<ReadPlace> places;
    places.reserve(uses_.size());
    std::uint32_t group = 0;
    std::uint32_t first = 0;  // tensor of the group
    std::string_view layer;
    for (auto const& use : uses_) {
        auto const tensor = use.tensors.front();
        bool const is_same = tensor == first || (!layer.empty() && priorities_[tensor] == priorities_[first] &&
                                                 layer_of(parameters_[tensor].name) == layer);
        if (places.empty() || !is_same) {
            ++group;
            first = tensor;
            layer = layer_of(parameters_[tensor].name);
        }
        auto const& stored = catalog.tensors()[use.source];
        places.push_back({group, priorities_[tensor], stored.file, stored.begin, use.needed.size()});
    }
    auto const [order, round_ends] = read_order(places, files_at_once);

    std::vector<SourceUse> sorted;  // uses are long: each is moved once
    sorted.reserve(uses_.size());
    std::size_t most = 0;  // parameters that are asked for by turns
    for (std::size_t at = 0; auto const end : round_ends) {
        std::set<std::uint32_t> wanting;
        for (; at < end; ++at) {
            sorted.push_back(std::move(uses_[order[at]]));
            for (auto const wanted : sorted.back().tensors) { wanting.insert(wanted); }
        }
        most = std::max(most, wanting.size());
    }
    uses_ = std::move(sorted);
    use_of_source_.clear();
    look_of_use_.clear();
    blocks_.emplace(mesh_, most + 2);
}

void Demand::sort_by_priority(PriorityClasses const& classes) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> order;  // class, index
    for (std::uint32_t i = 0; i < parameters_.size(); ++i) {
        order.emplace_back(classes.class_of(parameters_[i].name), i);
    }
    std::ranges::sort(order);
    std::vector<Parameter> sorted;
    for (auto const& [priority, index] : order) {
        priorities_.push_back(priority);
        sorted.push_back(std::move(parameters_[index]));
    }
    parameters_ = std::move(sorted);
}

std::uint32_t Demand::index_of(std::uint32_t source) {
    if (use_of_source_[source] == kNoUse) {
        use_of_source_[source] = static_cast<std::uint32_t>(uses_.size());
        uses_.push_back({.source = source, .tensors = {}, .stages = {}, .needed = {~std::uint64_t{0}, 0}});
    }
    return use_of_source_[source];
}

void Demand::add_uses(std::uint32_t tensor, std::uint64_t max_gap) {
    auto const& parameter = parameters_[tensor];
    auto const view = evaluate(parameter.value);
    auto const stages = stages_of(parameter.placement, mesh_);
    bool const is_uncut = is_whole(parameter.placement, mesh_);
    std::optional<Shape> last_box;  // experts are all alike
    double share = 0;
    for (auto const& region : view.regions) {
        auto& use = uses_[index_of(region.source)];
        auto const dtype = region.dtype.value_or(parameter.value.dtype);
        auto const bytes = source_bytes(region, static_cast<std::uint64_t>(bits(dtype)));
        if (dtype != parameter.value.dtype) { use.unit_bytes = unit_bytes(dtype); }
        use.needed = {std::min(use.needed.begin, bytes.begin), std::max(use.needed.end, bytes.end)};
        auto const box = extents_of(region);
        if (last_box != box) { share = readers_share(parameter, mesh_, box); }
        last_box = box;
        use.readers_share = std::max(use.readers_share, share);
        bool const is_new = use.tensors.empty();
        bool const is_same = is_new || use.stages == stages;
        use.is_whole_everywhere = use.is_whole_everywhere && is_uncut && is_same;
        if (is_new) { use.stages = stages; }
        if (!is_same) {
            Stages all;
            std::ranges::set_union(use.stages, stages, std::back_inserter(all));
            use.stages = std::move(all);
        }
        if (is_new || use.tensors.back() != tensor) { use.tensors.push_back(tensor); }
    }
    add_estimates(tensor, view, max_gap);
}

/// The first rank has the largest part of everything it has any of; of what it has none, such as other ranks' experts,
/// whoever holds the beginning stands for all.
void Demand::add_estimates(std::uint32_t tensor, View const& view, std::uint64_t max_gap) {
    auto const& parameter = parameters_[tensor];
    auto const first_look = looks_ + 1;
    auto const look_at = [&](std::int64_t rank) {
        ++looks_;
        for (auto const& [source, block] : blocks_of(parameter, view, tensor, mesh_, rank)) {
            auto const index = index_of(source);
            auto& look = look_of_use_[index];
            if (look >= first_look && look != looks_) { continue; }
            look = looks_;
            auto& use = uses_[index];
            auto const estimate = estimate_ranges(block, max_gap);
            use.direct.ranges += estimate.ranges;
            use.direct.bytes += estimate.bytes;
            use.used_bytes += block.bytes();
            use.runs += block.runs();
        }
    };
    look_of_use_.resize(uses_.size());
    look_at(0);
    for (auto const& region : view.regions) {
        if (look_of_use_[index_of(region.source)] >= first_look) { continue; }
        std::vector<std::int64_t> corner;
        for (auto const& axis : region.axes) { corner.push_back(axis.begin); }
        look_at(holder_of(parameter.placement, view.shape, mesh_, corner));
    }
}

std::span<CopyBlock const> Demand::blocks_for(SourceUse const& use, std::int64_t rank) {
    if (use.tensors.size() == 1) { return blocks_of_source(use.tensors.front(), use.source, rank); }
    several_.clear();
    for (auto const tensor : use.tensors) {
        auto const blocks = blocks_of_source(tensor, use.source, rank);
        several_.insert(several_.end(), blocks.begin(), blocks.end());
    }
    std::ranges::stable_sort(several_, {}, &CopyBlock::source);
    return several_;
}

std::span<CopyBlock const> Demand::blocks_of_source(std::uint32_t tensor, std::uint32_t source, std::int64_t rank) {
    auto const& parameter = parameters_[tensor];
    if (!is_held(parameter.placement, mesh_, rank)) { return {}; }
    return blocks_->of(tensor, parameter, rank).of(source);
}

}  // namespace shardwise
