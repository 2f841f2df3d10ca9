/// @file
/// How a checkpoint differs from what was expected, for scripts.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <shardwise/plan.hpp>

namespace shardwise {

/// {"missing": [names], "unexpected": [names], "mismatched": [{"name", "found", "expected"}]}
nlohmann::ordered_json differences_json(ParameterDifferences const& differences);

}  // namespace shardwise
