#include "plan/needed_blocks.hpp"

#include <algorithm>

namespace shardwise {

std::span<CopyBlock const> NeededBlocks::of(SourceUse const& use, std::int64_t rank) {
    if (use.tensors.size() == 1) { return of_parameter(use.tensors.front(), use.source, rank); }
    several_.clear();
    for (auto const tensor : use.tensors) {
        auto const blocks = of_parameter(tensor, use.source, rank);
        several_.insert(several_.end(), blocks.begin(), blocks.end());
    }
    std::ranges::stable_sort(several_, {}, &CopyBlock::source);
    return several_;
}

std::span<CopyBlock const> NeededBlocks::of_parameter(std::uint32_t tensor, std::uint32_t source, std::int64_t rank) {
    auto const& mesh = demand_.mesh();
    auto const& parameter = demand_.parameters()[tensor];
    if (!is_held(parameter.placement, mesh, rank)) { return {}; }
    auto& of_tensor = known(tensor);
    auto const alike = first_alike(parameter.placement, mesh, rank);
    auto& blocks = of_tensor.blocks[static_cast<std::size_t>(alike)];
    if (!blocks) { blocks.emplace(blocks_of(parameter, of_tensor.view, numbers_[tensor], mesh, alike)); }
    return blocks->of(source);
}

NeededBlocks::Known& NeededBlocks::known(std::uint32_t tensor) {
    auto found = std::ranges::find(known_, tensor, &Known::tensor);
    if (found == known_.end()) {
        auto const most = demand_.parameters_by_turns() + 2;
        if (known_.size() >= most) { known_.pop_back(); }
        auto const ranks = static_cast<std::size_t>(demand_.mesh().copy_ranks());
        found = known_.insert(known_.end(), {tensor, evaluate(demand_.parameters()[tensor].value),
                                             std::vector<std::optional<BlocksBySource>>(ranks)});
    }
    std::rotate(known_.begin(), found, found + 1);
    return known_.front();
}

}  // namespace shardwise
