/// @file
/// Which scale belongs to which element of a quantized tensor.
#pragma once

#include <cstdint>
#include <optional>

#include <shardwise/shape.hpp>

namespace shardwise {

/// Blocks of a matrix that have one scale each. Leading dimensions count as rows.
struct BlockGrid {
    std::uint64_t columns = 1;  ///< of the codes
    std::uint64_t block_rows = 1;
    std::uint64_t block_columns = 1;
    std::uint64_t grid_columns = 1;
    std::uint64_t repeat_rows = 1;  ///< rows after which the same scales apply again; all rows if they never do

    /// Number of the scale of element @p index, counted row by row.
    std::uint64_t scale_of(std::uint64_t index) const noexcept {
        auto const row = index / columns % repeat_rows;
        return row / block_rows * grid_columns + index % columns / block_columns;
    }

    bool operator==(BlockGrid const&) const = default;
};

/// Rows and columns of a block, as a model's configuration states them.
struct BlockSize {
    std::int64_t rows = 1;
    std::int64_t columns = 1;
    bool operator==(BlockSize const&) const = default;
};

/// True if @p scales have one number for each block of @p size of the last two dimensions of @p codes, of which the
/// last blocks may be short, and the same leading dimensions as far as they have any.
///
/// Example: codes (576, 7168), scales (5, 56), blocks of 128 x 128.
bool fits_blocks(Shape const& codes, Shape const& scales, BlockSize const& size);

/// The grid of codes of shape @p codes whose scales have shape @p scales. Blocks are those stated, if these fit, else
/// they follow from the shapes. One scale alone is for all elements; scales without leading dimensions are for each of
/// the codes' leading indices. Nothing if blocks would not be whole; the last ones of a matrix may be short if their
/// size is stated.
///
/// Example: codes (256, 512), scales (2, 4) -> blocks of 128 x 128.
std::optional<BlockGrid> find_block_grid(Shape const& codes, Shape const& scales,
                                         std::optional<BlockSize> const& stated = {});

/// The same.
/// @throws Error input with both shapes if blocks would not be whole.
BlockGrid block_grid(Shape const& codes, Shape const& scales, std::optional<BlockSize> const& stated = {});

}  // namespace shardwise
