/// @file
/// The scales that a rank's pieces of quantized tensors need.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include <shardwise/plan.hpp>

#include "mapping/parameters.hpp"

namespace shardwise {

/// The grid of every tensor of scales that parameters are dequantized with, by index into Catalog::tensors().
std::map<std::uint32_t, BlockGrid> grids_of(std::span<Parameter const> parameters);

/// Finds the scales for everything that @p plan's rank puts in place. Blocks name a tensor of scales by its index in
/// the catalog before and by their index into Plan::scalings after; blocks that are only sent on name none.
void add_scalings(Plan& plan, Catalog const& catalog, std::span<Parameter const> parameters);

}  // namespace shardwise
