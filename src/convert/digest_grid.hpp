/// @file
/// Digests of parts of many tensors by one launch on a stream: position_digest() for an accelerator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <shardwise/plan.hpp>

#include "convert/grid_block.hpp"
#include "convert/grid_list.hpp"
#include "device/accelerator.hpp"

namespace shardwise {

/// One block of what a rank holds of a tensor.
struct DigestPart {
    CopyBlock const& block;            ///< from bytes of the whole tensor to bytes of what is held, moved as they are
    std::uint32_t unit_bytes = 1;      ///< 1, 2, 4 or 8; divides all offsets of the block
    std::byte const* local = nullptr;  ///< what is held, in the accelerator's memory; not followed
    std::uint32_t result = 0;          ///< index of the sum that it counts for
};

/// Collects parts.
class DigestGrid {
   public:
    void add(DigestPart const& part);

    void clear() noexcept { list_.clear(); }

    /// As PlaceGrid has them.
    std::span<GridBlock const> blocks() const noexcept { return list_.blocks(); }
    std::span<std::byte const> bytes() const noexcept { return std::as_bytes(blocks()); }
    GridSize size() const noexcept { return list_.size(); }

   private:
    GridList list_;
};

/// Sets each of @p sums, which are in the accelerator's memory, to the digest of its parts, 0 if it has none.
/// @param blocks a copy of DigestGrid::blocks() in memory of the accelerator.
/// @throws Error io when the accelerator refuses.
void run_digest_grid(Stream& stream, GridBlock const* blocks, GridSize size, std::span<std::uint64_t> sums);

}  // namespace shardwise
