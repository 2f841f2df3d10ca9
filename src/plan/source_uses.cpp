#include "plan/source_uses.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include <shardwise/error.hpp>

#include "mapping/tiling.hpp"
#include "plan/source_blocks.hpp"
#include "util/checked.hpp"
#include "util/parallel.hpp"

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

/// What two lists of parameters need of the same stored tensor; those of @p later come later.
void join(SourceUse& use, SourceUse const& later) {
    use.is_whole_everywhere = use.is_whole_everywhere && later.is_whole_everywhere;
    for (auto const tensor : later.tensors) {
        if (use.tensors.back() != tensor) { use.tensors.push_back(tensor); }
    }
    use.needed = {std::min(use.needed.begin, later.needed.begin), std::max(use.needed.end, later.needed.end)};
    use.readers_share = std::max(use.readers_share, later.readers_share);
    use.direct.ranges += later.direct.ranges;
    use.direct.bytes += later.direct.bytes;
    use.used_bytes += later.used_bytes;
    use.runs += later.runs;
    use.unit_bytes = std::max(use.unit_bytes, later.unit_bytes);
}

/// What different stages need, no stage needs alone.
void note_different_stages(SourceUse& use, std::span<Parameter const> parameters, Mesh const& mesh) {
    auto const first = stages_of(parameters[use.tensors.front()].placement, mesh);
    use.is_whole_everywhere = use.is_whole_everywhere && std::ranges::all_of(use.tensors, [&](std::uint32_t tensor) {
                                  return stages_of(parameters[tensor].placement, mesh) == first;
                              });
}

/// Uses by stored tensor.
class SourceUses {
   public:
    SourceUses(std::size_t stored_tensors, Mesh const& mesh, std::uint64_t max_gap)
        : mesh_(mesh), max_gap_(max_gap), index_of_(stored_tensors, kNoUse) {}

    void reserve(std::size_t uses) { uses_.reserve(uses); }

    /// Adds what a parameter needs; @p tensor is its number.
    void add(std::uint32_t tensor, Parameter const& parameter);

    /// Adds what another list of parameters needs, which comes later.
    void add(std::vector<SourceUse> later) {
        for (auto& use : later) { join_in(std::move(use)); }
    }

    std::vector<SourceUse> take() { return std::move(uses_); }

   private:
    void join_in(SourceUse&& use);
    void add_estimates(std::uint32_t tensor, Parameter const& parameter, View const& view);

    Mesh mesh_;
    std::uint64_t max_gap_;
    std::vector<SourceUse> uses_;
    std::vector<std::uint32_t> index_of_;     ///< by stored tensor
    std::vector<std::uint64_t> look_of_use_;  ///< by use: the last look at ranks' blocks that counted it
    std::uint64_t looks_ = 0;
};

void SourceUses::join_in(SourceUse&& use) {
    auto& index = index_of_[use.source];
    if (index != kNoUse) {
        join(uses_[index], use);
        return;
    }
    index = static_cast<std::uint32_t>(uses_.size());
    uses_.push_back(std::move(use));
}

void SourceUses::add(std::uint32_t tensor, Parameter const& parameter) {
    auto const view = evaluate(parameter.value);
    bool const is_uncut = is_whole(parameter.placement, mesh_);
    std::optional<Shape> last_box;  // experts are all alike
    double share = 0;
    for (auto const& region : view.regions) {
        auto const dtype = region.dtype.value_or(parameter.value.dtype);
        auto const box = extents_of(region);
        if (last_box != box) { share = readers_share(parameter, mesh_, box); }
        last_box = box;
        auto const unit = dtype == parameter.value.dtype ? 1 : unit_bytes(dtype);
        join_in({.source = region.source,
                 .unit_bytes = static_cast<std::uint32_t>(unit),
                 .is_whole_everywhere = is_uncut,
                 .tensors = {tensor},
                 .needed = source_bytes(region, static_cast<std::uint64_t>(bits(dtype))),
                 .readers_share = share});
    }
    add_estimates(tensor, parameter, view);
}

/// The first rank has the largest part of everything it has any of; of what it has none, such as other ranks' experts,
/// whoever holds the beginning stands for all.
void SourceUses::add_estimates(std::uint32_t tensor, Parameter const& parameter, View const& view) {
    auto const first_look = looks_ + 1;
    auto const look_at = [&](std::int64_t rank) {
        ++looks_;
        for (auto const& [source, block] : blocks_of(parameter, view, tensor, mesh_, rank)) {
            auto const index = index_of_[source];
            auto& look = look_of_use_[index];
            if (look >= first_look && look != looks_) { continue; }
            look = looks_;
            auto& use = uses_[index];
            auto const estimate = estimate_ranges(block, max_gap_);
            use.direct.ranges += estimate.ranges;
            use.direct.bytes += estimate.bytes;
            use.used_bytes += block.bytes();
            use.runs += block.runs();
        }
    };
    look_of_use_.resize(uses_.size());
    look_at(0);
    for (auto const& region : view.regions) {
        if (look_of_use_[index_of_[region.source]] >= first_look) { continue; }
        std::vector<std::int64_t> corner;
        for (auto const& axis : region.axes) { corner.push_back(axis.begin); }
        look_at(holder_of(parameter.placement, view.shape, mesh_, corner));
    }
}

}  // namespace

std::vector<SourceUse> uses_of(std::span<Parameter const> parameters, std::size_t stored_tensors, Mesh const& mesh,
                               std::uint64_t max_gap) {
    constexpr std::size_t kLeastParameters = 256;
    auto const parts = parts_for_threads(parameters.size(), kLeastParameters);
    std::vector<SourceUses> uses(parts.size(), {stored_tensors, mesh, max_gap});
    for_each_in_parallel(parts.size(), parts.size(), [&](std::size_t part) {
        uses[part].reserve(stored_tensors);  // long records are moved once; memory that is not touched costs nothing
        for (auto tensor = parts[part].begin; tensor < parts[part].end; ++tensor) {
            try {
                uses[part].add(static_cast<std::uint32_t>(tensor), parameters[tensor]);
            } catch (Error const& error) { throw error.while_(parameters[tensor].name); }
        }
    });
    if (uses.empty()) { return {}; }
    for (std::size_t part = 1; part < parts.size(); ++part) { uses.front().add(uses[part].take()); }
    auto all = uses.front().take();
    for (auto& use : all) {
        if (use.tensors.size() > 1) { note_different_stages(use, parameters, mesh); }
    }
    return all;
}

Stages stages_of(SourceUse const& use, std::span<Parameter const> parameters, Mesh const& mesh) {
    auto stages = stages_of(parameters[use.tensors.front()].placement, mesh);
    for (auto const tensor : std::span(use.tensors.data(), use.tensors.size()).subspan(1)) {
        Stages all;
        std::ranges::set_union(stages, stages_of(parameters[tensor].placement, mesh), std::back_inserter(all));
        stages = std::move(all);
    }
    return stages;
}

}  // namespace shardwise
