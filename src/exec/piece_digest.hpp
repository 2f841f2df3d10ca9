/// @file
/// Digests of parts of tensors.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

#include "mapping/tiling.hpp"

namespace shardwise {

/// Bytes of the unit in which digests count positions.
std::size_t digest_unit_bytes(DType dtype) noexcept;

/// A tile of a tensor: no rank holds a part of it only.
struct HeldPart {
    std::vector<std::int64_t> corner;  ///< first index in every dimension; tells it from the others
    std::vector<CopyBlock> blocks;     ///< from bytes of the whole tensor to bytes of what the rank holds
};

/// What @p rank holds of a tensor, tile by tile.
/// @param tiling of that tensor.
std::vector<HeldPart> held_parts(PlannedTensor const& tensor, Tiling const& tiling, Mesh const& mesh,
                                 std::int64_t rank);

/// Digest of one part by its global positions; @p local is all that the rank holds of the tensor.
std::uint64_t digest_part(HeldPart const& part, DType dtype, std::span<std::byte const> local);

}  // namespace shardwise
