#include "exec/piece_digest.hpp"

#include <algorithm>

#include "convert/position_digest.hpp"
#include "convert/runs.hpp"
#include "mapping/view.hpp"
#include "plan/copy_block.hpp"

namespace shardwise {

std::size_t digest_unit_bytes(DType dtype) noexcept { return static_cast<std::size_t>(std::max(bits(dtype), 8)) / 8; }

std::vector<HeldPart> held_parts(PlannedTensor const& tensor, std::int64_t tp_rank) {
    auto const view = whole(0, tensor.global_shape);
    auto const local = local_shape(tensor.placement, tensor.global_shape, tp_rank);
    auto const lowered = [&](View const& part) {
        std::vector<CopyBlock> blocks;
        for (auto const& region : part.regions) { blocks.push_back(lower(region, local, tensor.dtype)); }
        return blocks;
    };
    if (tensor.placement.kind == Placement::Kind::replicate) { return {{0, lowered(view)}}; }
    std::vector<HeldPart> parts;
    auto const dim = tensor.placement.dim;
    std::int64_t at = 0;
    for (auto const& range : held_ranges(tensor.placement, tp_rank)) {
        auto part = slice(view, dim, range.begin, range.end);
        for (auto& region : part.regions) { region.axes[dim].begin += at; }
        parts.push_back({range.begin, lowered(part)});
        at += range.size();
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
