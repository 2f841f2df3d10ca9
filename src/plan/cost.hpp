/// @file
/// What reading a stored tensor costs each way, in seconds, from a simple model of the machine.
#pragma once

#include <cstdint>

#include <shardwise/plan.hpp>
#include <shardwise/profile.hpp>

#include "plan/demand.hpp"

namespace shardwise {

/// What a decision is made of; the same on every rank.
struct StrategyInput {
    StrategyChoice choice = StrategyChoice::automatic;
    std::int64_t ranks = 1;  ///< those of the stages that need the tensor share the reading
    bool is_cached = false;  ///< reading is copying then
    bool cuts_units = false;  ///< the borders of stripes would cut elements that are cast
    Device device = Device::host;
};

/// Whether borders at multiples of kSlotAlignment in the file may cut what has to stay together. Files that keep their
/// elements aligned, as the safetensors library writes them, are safe.
bool cuts_units(SourceUse const& use, TensorRecord const& stored) noexcept;

/// The cheaper way for one stored tensor; or the only one, direct, where stripes would cut its elements.
Strategy choose_strategy(SourceUse const& use, StrategyInput const& input, MachineProfile const& profile) noexcept;

}  // namespace shardwise
