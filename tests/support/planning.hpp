/// @file
/// Options of plans, and plans of all ranks at once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

#include "plan/planner.hpp"
#include "support/test_model.hpp"

namespace shardwise::test {

inline PlanOptions options_for(Mesh mesh, StrategyChoice strategy, std::uint64_t staging_bytes) {
    PlanOptions options;
    options.mesh = mesh;
    options.strategy = strategy;
    options.staging_bytes = staging_bytes;
    return options;
}

/// The plan of every rank of @p options' mesh.
inline std::vector<Plan> plan_all(TestModel const& model, PlanOptions const& options,
                                  std::span<FileFacts const> facts = {}) {
    std::vector<Plan> plans;
    for (std::int64_t rank = 0; rank < options.mesh.world(); ++rank) {
        plans.push_back(plan_parameters(model.catalog(), model.parameters(), options, rank, facts));
    }
    return plans;
}

}  // namespace shardwise::test
