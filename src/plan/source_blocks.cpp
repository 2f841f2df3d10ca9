#include "plan/source_blocks.hpp"

#include <algorithm>
#include <numeric>

#include "mapping/tiling.hpp"

namespace shardwise {

std::vector<SourceBlock> blocks_of(Parameter const& parameter, View const& view, std::uint32_t tensor, Mesh const& mesh,
                                   std::int64_t rank) {
    std::vector<SourceBlock> blocks;
    auto const add = [&](View const& part, Shape const& shape) {
        Lowering lowering(shape, parameter.value.dtype);
        blocks.reserve(blocks.size() + part.regions.size());
        for (auto const& region : part.regions) {
            blocks.push_back({region.source, lowering.block(region)});
            blocks.back().block.tensor = tensor;
        }
    };
    if (is_whole(parameter.placement, mesh)) {
        add(view, view.shape);
        return blocks;
    }
    auto const shape = local_shape(parameter.placement, view.shape, mesh, rank);
    for (auto const& box : held_boxes(parameter.placement, view.shape, mesh, rank)) { add(part_at(view, box), shape); }
    return blocks;
}

BlocksBySource::BlocksBySource(std::vector<SourceBlock> blocks) {
    std::vector<std::uint32_t> order(blocks.size());
    std::iota(order.begin(), order.end(), 0U);
    std::ranges::sort(order, {}, [&](std::uint32_t i) { return std::pair(blocks[i].source, blocks[i].block.source); });
    sources_.reserve(blocks.size());
    blocks_.reserve(blocks.size());
    for (auto const i : order) {
        sources_.push_back(blocks[i].source);
        blocks_.push_back(std::move(blocks[i].block));
    }
}

std::span<CopyBlock const> BlocksBySource::of(std::uint32_t source) const {
    auto const [first, last] = std::ranges::equal_range(sources_, source);
    return {blocks_.begin() + (first - sources_.begin()), blocks_.begin() + (last - sources_.begin())};
}

}  // namespace shardwise
