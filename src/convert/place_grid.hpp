/// @file
/// Copy blocks of many tensors put in place by one launch on a stream: place(), pack() and unpack() for an accelerator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <shardwise/plan.hpp>

#include "convert/block_scale.hpp"
#include "convert/grid_block.hpp"
#include "convert/grid_list.hpp"
#include "device/accelerator.hpp"

namespace shardwise {

/// Collects blocks. All addresses are the accelerator's, those of scales, too; they are taken down and not followed.
/// Blocks of one grid are placed in no order: none may write what another reads or writes.
class PlaceGrid {
   public:
    /// As place() for one block: its offsets count from @p source and @p target.
    /// @param scaling what its codes are dequantized with; null if it has numbers. Read now, its bytes by the launch.
    /// @throws Error input if a type cannot be cast, or a quantized tensor has more than 2^30 rows or columns.
    void add_place(CopyBlock const& block, std::byte const* source, std::byte* target, BlockScaling const* scaling);

    /// As unpack() for one block.
    /// @return bytes of @p packed that it takes.
    /// @throws Error as add_place().
    std::uint64_t add_unpack(CopyBlock const& block, std::byte const* packed, std::byte* target,
                             BlockScaling const* scaling);

    /// As pack() for one block: stored bytes, none cast.
    /// @return bytes that it puts into @p packed.
    std::uint64_t add_pack(CopyBlock const& block, std::byte const* source, std::byte* packed);

    void clear() noexcept { list_.clear(); }

    /// What has to lie in memory that the accelerator reads when the launch runs; any address that is a multiple of 8
    /// will do. One block added makes one to three of these, more if it has over 1 GiB or more than four loops.
    std::span<GridBlock const> blocks() const noexcept { return list_.blocks(); }
    std::span<std::byte const> bytes() const noexcept { return std::as_bytes(blocks()); }

    GridSize size() const noexcept { return list_.size(); }
    std::uint32_t tiles() const noexcept { return size().tiles; }

   private:
    GridList list_;
};

/// Places everything in @p blocks, a copy of PlaceGrid::blocks() in memory of the accelerator, in order with the rest
/// of
/// @p stream; nothing is launched if there is nothing to do.
/// @throws Error io when the accelerator refuses.
void run_place_grid(Stream& stream, GridBlock const* blocks, GridSize size);

}  // namespace shardwise
