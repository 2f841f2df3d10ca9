/// @file
/// Digests of parts of tensors.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

namespace shardwise {

/// Bytes of the unit in which digests count positions.
std::size_t digest_unit_bytes(DType dtype) noexcept;

/// A part of a tensor that some ranks hold in one piece: one range of the cut dimension, or all of a replicated tensor.
struct HeldPart {
    std::int64_t begin = 0;         ///< first index of the range; 0 for all
    std::vector<CopyBlock> blocks;  ///< from bytes of the whole tensor to bytes of what the rank holds
};

/// What @p tp_rank holds of a tensor, range by range.
std::vector<HeldPart> held_parts(PlannedTensor const& tensor, std::int64_t tp_rank);

/// Digest of one part by its global positions; @p local is all that the rank holds of the tensor.
std::uint64_t digest_part(HeldPart const& part, DType dtype, std::span<std::byte const> local);

}  // namespace shardwise
