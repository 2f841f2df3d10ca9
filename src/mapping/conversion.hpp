/// @file
/// Stored tensors grouped by the rule that takes them, and each group's operations run on expressions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <shardwise/catalog.hpp>

#include "mapping/architecture_data.hpp"
#include "mapping/leaves.hpp"

namespace shardwise {

/// A parameter before it is placed.
struct NamedExpression {
    std::string name;
    Expression value;
};

/// Renames and converts every tensor of @p catalog that is not ignored; in natural order of names.
/// @param leaves says how each tensor is taken.
/// @throws Error input: two sources for one name, a missing source or expert, operations that do not fit.
std::vector<NamedExpression> convert(Catalog const& catalog, ArchitectureData const& architecture,
                                     SizeLookup const& size_of, Leaves const& leaves);

}  // namespace shardwise
