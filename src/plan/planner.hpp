/// @file
/// The step behind make_plan: from parameters, however they came about, to what one rank does.
#pragma once

#include <cstdint>
#include <span>

#include <shardwise/plan.hpp>

#include "mapping/parameters.hpp"

namespace shardwise {

/// The plan of @p rank for @p parameters; as make_plan, without an architecture's rules.
Plan plan_parameters(Catalog const& catalog, Parameters parameters, PlanOptions const& options, std::int64_t rank,
                     std::span<FileFacts const> facts = {});

}  // namespace shardwise
