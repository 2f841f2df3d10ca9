/// @file
/// The parameters that an architecture says its models have.
#pragma once

#include <cstdint>
#include <functional>
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
    std::string condition;  ///< expression; it exists where that is not 0; empty: always
};

/// The names that a pattern stands for: `{count}` is every number from 0 to count - 1, `{first...last}` every number
/// from first to last; all of these are expressions over config.json.
///
/// Example: "layers.{3}.w" -> layers.0.w, layers.1.w, layers.2.w.
/// @throws Error input for braces that do not pair, an expression that @p size_of refuses, or too many names.
std::vector<std::string> names_of_pattern(std::string const& pattern, SizeLookup const& size_of);

/// Sizes as they are for a layer: the name "layer" is its number; no number for what lies in no layer.
using LayerLookup = std::function<SizeLookup(std::optional<std::int64_t>)>;

/// The expectation that patterns make. A shape that config.json does not state is not compared.
/// Conditions are worked out for every name, its first number being the layer's.
/// @throws Error input, as lookups do, where config.json does not state which names there are.
Expectation expectation_of(std::vector<ParameterPattern> const& patterns, LayerLookup const& sizes_of);

}  // namespace shardwise
