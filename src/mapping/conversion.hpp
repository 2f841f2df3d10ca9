/// @file
/// Stored tensors grouped by the rule that takes them, and each group's operations run on expressions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <shardwise/catalog.hpp>

#include "mapping/architecture_data.hpp"
#include "mapping/leaves.hpp"
#include "mapping/mapped_names.hpp"

namespace shardwise {

/// A parameter before it is placed.
struct NamedExpression {
    std::string name;
    Expression value;
    std::optional<std::size_t> transform;  ///< the converter that made it
};

/// Renames and converts every tensor of @p catalog that is not ignored; in natural order of names.
/// @param config the checkpoint's, in which operations look up their sizes.
/// @param leaves says how each tensor is taken.
/// @param model_names the parameters of the model, where they are known (see map_names).
/// @throws Error input: two sources for one name, a missing source or expert, operations that do not fit.
std::vector<NamedExpression> convert(Catalog const& catalog, ArchitectureData const& architecture,
                                     ModelConfig const& config, Leaves const& leaves,
                                     NameSet const& model_names = {});

}  // namespace shardwise
