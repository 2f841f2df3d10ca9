/// @file
/// The parameters that a checkpoint's model is known to have.
#pragma once

#include <string>

#include <shardwise/catalog.hpp>
#include <shardwise/expectation.hpp>

#include "mapping/architecture_data.hpp"

namespace shardwise {

/// What a model has by somebody's word, the user's or its architecture's.
struct KnownParameters {
    Expectation expected;       ///< empty: nothing is known
    bool is_users = false;      ///< --expect says so, and means every name
    std::string within;         ///< only names below this module are known; empty: all
    bool settles_names = true;  ///< names that only the base model's path, or a rule, keeps from these become these
};

/// By the word of @p data: of a class that it does not state in full, what lies in the base model. A checkpoint of the
/// base model alone has names without that model's path.
/// @throws Error input saying why nothing is known: nothing is stated, config.json lacks a size, or the model is
///         quantized in a way that changes its names.
KnownParameters parameters_by_architecture(ArchitectureData const& data, ModelConfig const& config,
                                           Catalog const& catalog);

}  // namespace shardwise
