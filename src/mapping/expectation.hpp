/// @file
/// The parameters that an architecture says its models have.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <shardwise/expectation.hpp>

#include "mapping/operation.hpp"

namespace shardwise {

/// One entry of "parameters" in an architecture's file.
struct ParameterPattern {
    std::string name;                               ///< with numbers: "layers.{num_hidden_layers}.norm.weight"
    std::optional<std::vector<std::string>> shape;  ///< expressions over config.json
    std::optional<DType> dtype;
    bool is_optional = false;
};

/// The names that a pattern stands for: `{count}` is every number from 0 to count - 1, `{first...last}` every number
/// from first to last; all of these are expressions over config.json.
///
/// Example: "layers.{3}.w" -> layers.0.w, layers.1.w, layers.2.w.
/// @throws Error input for braces that do not pair, an expression that @p size_of refuses, or too many names.
std::vector<std::string> names_of_pattern(std::string const& pattern, SizeLookup const& size_of);

/// The expectation that patterns make. A pattern whose numbers config.json does not state stands for nothing; a shape
/// that it does not state is not compared.
Expectation expectation_of(std::vector<ParameterPattern> const& patterns, SizeLookup const& size_of);

}  // namespace shardwise
