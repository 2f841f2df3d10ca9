/// @file
/// Copy blocks whose elements are cast or dequantized on the way into place.
#pragma once

#include <cstddef>
#include <span>

#include <shardwise/plan.hpp>

#include "convert/block_scale.hpp"

namespace shardwise {

/// As place() for one block that is cast: @p source and @p target are what the block's offsets count from.
/// @param scaling what its codes are dequantized with; null if it has numbers.
void place_cast(CopyBlock const& block, std::byte const* source, std::byte* target, BlockScaling const* scaling);

/// As unpack() for one block that is cast: @p packed has its runs one after the other.
void unpack_cast(CopyBlock const& block, std::byte const* packed, std::byte* target, BlockScaling const* scaling);

/// Converts one run of @p block, the one at @p source, element by element; the first one goes to the beginning of
/// @p target.
void cast_run_reference(CopyBlock const& block, BlockScaling const* scaling, std::uint64_t source,
                        std::span<std::byte const> run, std::span<std::byte> target);

}  // namespace shardwise
