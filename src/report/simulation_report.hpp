/// @file
/// Predicted loads for people and for scripts.
#pragma once

#include <span>
#include <string>

#include "plan/simulation.hpp"

namespace shardwise {

/// One line a load.
std::string simulation_table(MachineProfile const& profile, std::span<SimulatedLoad const> loads);

/// Schema shardwise.simulation/1.
std::string simulation_json(MachineProfile const& profile, std::span<SimulatedLoad const> loads);

}  // namespace shardwise
