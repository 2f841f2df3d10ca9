/// @file
/// Scales of quantized parameters that are held as they are stored: cut where their codes are.
#pragma once

#include <vector>

#include "mapping/parameters.hpp"

namespace shardwise {

/// Gives every tensor of scales (X_scale_inv or X_scale; M.scale of M.weight) the cut of the codes X that it belongs
/// to, in blocks: the plan's rule would cut it by its own size, which fits by chance only. Scales of blocks that reach
/// over the whole cut dimension are held whole by every rank.
/// @throws Error input naming codes, scales, block and border where a border between ranks would cut a block.
void cut_scales_with_codes(std::vector<Parameter>& parameters, Mesh const& mesh);

}  // namespace shardwise
