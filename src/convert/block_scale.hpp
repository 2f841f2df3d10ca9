/// @file
/// Numbers stored as small codes with a scale for each block of a matrix: value = code x scale. FP8 with scales for
/// blocks of rows and columns, MXFP4 with a power of two for each 32 neighbours, scales for rows or whole matrices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <shardwise/block_grid.hpp>
#include <shardwise/dtype.hpp>

#include "convert/fp8_block.hpp"

namespace shardwise {

/// Scales [first, first + count) of a grid, as they are stored. U8 is read as F8_E8M0.
struct BlockScales {
    std::span<std::byte const> bytes;
    DType dtype = DType::f32;
    std::uint64_t first = 0;
};

/// Everything that codes are dequantized with.
struct BlockScaling {
    BlockGrid grid;
    BlockScales scales;
};

/// Elements [first, ...) of a quantized tensor, @p source, as numbers of type @p to: code x scale in F32, then rounded
/// as cast() does. A NaN of code, scale or product becomes the positive one.
/// @param scales has the scale of every element; a scale that is missing is a bug of the caller.
/// @throws Error input if a type is no floating-point one.
void dequantize(BlockGrid const& grid, BlockScales const& scales, std::uint64_t first, DType from,
                std::span<std::byte const> source, DType to, std::span<std::byte> target);
void dequantize_reference(BlockGrid const& grid, BlockScales const& scales, std::uint64_t first, DType from,
                          std::span<std::byte const> source, DType to, std::span<std::byte> target);

/// Codes of each block are its numbers times 448 / greatest absolute value, clamped to 448 and rounded as cast() does;
/// the inverse of the factor is stored. A block of zeros has scale 1. NaNs stay, and count for nothing in the maximum;
/// infinities become NaNs where F32 scales are stored, since 448 / infinity is 0.
/// @param codes rows x columns bytes; @param scales one for each block, row by row.
void quantize_fp8(QuantizeShape const& shape, std::span<float const> values, ScaleFormat format,
                  std::span<std::byte> codes, std::span<std::byte> scales);
void quantize_fp8_reference(QuantizeShape const& shape, std::span<float const> values, ScaleFormat format,
                            std::span<std::byte> codes, std::span<std::byte> scales);

}  // namespace shardwise
