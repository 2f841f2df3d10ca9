/// @file
/// Scales of quantized tensors that are held as they are stored: named and converted with their codes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mapping/conversion.hpp"
#include "mapping/mapped_names.hpp"

namespace shardwise {

/// What the scales of the codes @p codes may be called: X_scale_inv or X_scale of X; M.scale of M.weight.
std::vector<std::string> scale_names(std::string const& codes);

/// True if no rule of the architecture says what becomes of the scales @p scales by themselves, so that they go where
/// their codes go: through the same converter, under the same new name.
/// @param mapped what the rules make of every stored tensor's name.
bool go_with_codes(std::uint32_t scales, Leaves const& leaves, Catalog const& catalog, MappedNames const& mapped);

/// Adds the scales of every parameter of @p parameters that is made of codes whose scales go with them. They are called
/// as the codes with what the stored scales have behind the name of theirs; `_scale_inv` stands for `.scale` where the
/// codes' name has no `.weight` any more.
/// @param goes by stored tensor: goes with its codes.
/// @throws Error input naming the parameter where the operations leave no blocks of one scale, or codes with and
///         without scales, or with scales of different names, become one parameter.
///
/// Example: experts.*.w1.weight and w3.weight merged to experts.gate_up_proj -> experts.gate_up_proj_scale_inv.
void add_kept_scales(std::vector<NamedExpression>& parameters, Leaves const& leaves, Catalog const& catalog,
                     std::vector<bool> const& goes);

}  // namespace shardwise
