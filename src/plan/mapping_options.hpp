/// @file
/// The part of a plan's options that concerns mapping.
#pragma once

#include <shardwise/plan.hpp>

#include "mapping/parameters.hpp"

namespace shardwise {

MappingOptions mapping_options(PlanOptions const& options);

}  // namespace shardwise
