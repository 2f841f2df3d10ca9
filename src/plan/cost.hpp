/// @file
/// What reading a stored tensor costs each way, in seconds, from a simple model of the machine.
#pragma once

#include <cstdint>

#include <shardwise/plan.hpp>

#include "plan/demand.hpp"

namespace shardwise {

/// Figures of a machine as all ranks of the job share it.
struct StorageProfile {
    double bytes_per_second;           ///< all ranks together
    double request_seconds;            ///< added by one request, queue depth taken into account
    double exchange_bytes_per_second;  ///< between ranks, all together
};

/// A cold local drive: one NVMe, deep queue; ranks exchange through memory.
inline constexpr StorageProfile kColdProfile = {2e9, 20e-6, 8e9};

/// Files in the page cache: reading is copying, so a stripe that is exchanged afterwards is copied twice.
inline constexpr StorageProfile kCachedProfile = {10e9, 1e-6, 10e9};

/// The cheaper way for one stored tensor; the same on every rank.
/// @param world ranks that share the reading.
Strategy choose_strategy(SourceUse const& use, StorageProfile const& profile, std::int64_t world, StrategyChoice choice) noexcept;

}  // namespace shardwise
