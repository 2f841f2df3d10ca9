#include "exec/piece_digest.hpp"

#include <algorithm>

#include "convert/position_digest.hpp"
#include "convert/runs.hpp"
#include "mapping/view.hpp"
#include "plan/copy_block.hpp"

namespace shardwise {

std::size_t digest_unit_bytes(DType dtype) noexcept { return static_cast<std::size_t>(std::max(bits(dtype), 8)) / 8; }

std::vector<HeldPart> held_parts(PlannedTensor const& tensor, Tiling const& tiling, Mesh const& mesh,
                                 std::int64_t rank) {
    auto const& shape = tensor.global_shape;
    auto const local = local_shape(tensor.placement, shape, mesh, rank);
    std::vector<HeldPart> parts;
    for (auto const& box : held_boxes(tensor.placement, shape, mesh, rank)) {
        for (auto const& tile : tiling.tiles_of(box)) {
            parts.push_back({corner_of(tile), {}});
            for (auto const& region : part_at(whole(0, shape), tile).regions) {
                parts.back().blocks.push_back(lower(region, local, tensor.dtype));
            }
        }
    }
    return parts;
}

std::uint64_t digest_part(HeldPart const& part, DType dtype, std::span<std::byte const> local) {
    auto const unit = digest_unit_bytes(dtype);
    std::uint64_t digest = 0;
    for (auto const& block : part.blocks) {
        for_each_run(block, [&](std::uint64_t source, std::uint64_t target, std::uint64_t size) {
            digest += position_digest(local.subspan(target, size), unit, source / unit);
        });
    }
    return digest;
}

}  // namespace shardwise
