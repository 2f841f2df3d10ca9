/// @file
/// The scales of quantized tensors that are held as they are stored, taken through the operations that their codes go
/// through.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "mapping/expression.hpp"

namespace shardwise {

/// Extents of the blocks of codes that have one scale each, by dimension of the codes. One scale alone is for all of
/// them; where scales lack leading dimensions they are for each of these indices. Nothing if blocks would not be whole.
/// @param stated size of the blocks; where it does not fit they follow from the shapes.
///
/// Example: codes (8, 256, 512), scales (8, 2, 4) -> 1, 128, 128.
std::optional<std::vector<std::int64_t>> block_extents(Shape const& codes, Shape const& scales,
                                                       std::optional<BlockSize> const& stated = {});

/// The scales, by stored tensor of codes.
using ScalesOf = std::function<Expression(std::uint32_t codes)>;

/// Scales for @p codes, an expression over stored codes, each of which has one scale a block: of the same number of
/// dimensions, with one scale for each block of the result. A tensor of codes that comes out as it is stored has its
/// scales as they are stored, whatever their shape.
/// @param stated as block_extents() has it, of every stored tensor.
/// @throws Error input naming operation, shape and blocks where the result does not fall into blocks of one scale.
///
/// Example: codes stack 0 of 8 x (512, 256), scales (4, 2) -> codes (8, 512, 256), scales (8, 4, 2); the lower half of
/// each, rows [256, 512) -> scales (8, 2, 2); rows [64, 512) are refused.
Expression block_scales(Expression const& codes, ScalesOf const& scales_of,
                        std::optional<BlockSize> const& stated = {});

}  // namespace shardwise
