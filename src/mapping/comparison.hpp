/// @file
/// What a checkpoint gives beside what its model is expected to have.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <shardwise/plan.hpp>

#include "mapping/known_parameters.hpp"

namespace shardwise {

struct Parameter;

/// Quantized tensors that are held as stored are compared by what they stand for: their scales are expected with them,
/// unless the user has said what is.
/// @param held     every parameter that the checkpoint gives; tied names count as held.
/// @param ignored  patterns of names that may be missing. Syntax of a transform's sources.
ParameterDifferences compare(KnownParameters const& known, std::span<Parameter const> held,
                             std::vector<std::string> const& ignored);

/// One sentence for each kind of difference, names in few words; none if there is none.
///
/// Example: "2 expected parameter(s) are missing: layers.{0, 1}.norm.weight".
std::vector<std::string> sentences(ParameterDifferences const& differences);

}  // namespace shardwise
