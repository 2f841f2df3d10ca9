/// @file
/// An architecture for one model: a file's rules, those of the model's parts, and the user's own.
#pragma once

#include <string>
#include <vector>

#include "mapping/architecture_data.hpp"
#include "mapping/architecture_library.hpp"
#include "mapping/model_config.hpp"

namespace shardwise {

/// What to assemble: a description and the user's rule files, whose transforms come first.
struct AssemblyRequest {
    Description description;
    std::vector<RuleText> rules;
};

/// All rules that hold for a model, in the order the reference applies transforms: the user's, the model's, those of
/// its base model's class, those of its parts, the legacy ones. A part whose class or type something above it has
/// already been given transforms for gets none of its own; a type that is not known has no rules. Plans are flattened.
/// @throws Error input.
ArchitectureData assemble(AssemblyRequest const& request, ModelConfig const& config);

}  // namespace shardwise
