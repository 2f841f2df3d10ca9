/// @file
/// Scales of quantized parameters that are held as they are stored: cut where their codes are.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mapping/conversion.hpp"
#include "mapping/parameters.hpp"

namespace shardwise {

/// Names of the scales that cut_scales_with_codes finds the codes of.
std::set<std::string> kept_scale_names(std::vector<NamedExpression> const& parameters);

/// Gives every tensor of scales (X_scale_inv or X_scale; M.scale of M.weight; X_scales of X_blocks) the cut of the
/// codes X that it belongs to, in blocks: the plan's rule would cut it by its own size, which fits by chance only.
/// Scales of blocks that reach over the whole cut dimension, or over one of the parts that it falls into, are held
/// whole by every rank.
/// @throws Error input naming codes, scales, block and border where a border between ranks would cut a block, or where
///         scales of codes that are cut divide these into no whole blocks.
/// @param stated size of blocks; where it does not fit they follow from the shapes.
void cut_scales_with_codes(std::vector<Parameter>& parameters, Mesh const& mesh,
                           std::optional<BlockSize> const& stated = {});

/// A parameter as a plan's rules mean it.
struct RuleView {
    std::string name;
    Shape shape;
};

/// X_blocks (..., N, G, 16) of U8, MXFP4 kept as it is stored, as the X (..., 32 G, N) that rules are made for; nothing
/// for any other parameter.
std::optional<RuleView> view_of_blocks(std::string const& name, Expression const& value);

/// The cut of X as one of X_blocks.
/// @param view with the placement that rules give it.
/// @throws Error input as above.
Placement placement_of_blocks(RuleView const& view, Placement const& placement, Mesh const& mesh);

}  // namespace shardwise
