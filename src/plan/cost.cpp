#include "plan/cost.hpp"

#include <algorithm>

#include "plan/cached_cost.hpp"

namespace shardwise {
namespace {

/// What waves cost beside the copies: ranks wait for each other, and shared windows have small pages.
constexpr double kWavePenalty = 2;

/// Whether every rank had better copy its own part of a cached tensor, by the bytes that it would copy each way: runs
/// by calls of their own, passing over the gaps, or through room; against its stripe in and out again, and its part
/// into place.
bool is_direct_when_cached(SourceUse const& use, std::int64_t ranks) noexcept {
    ScatteredRuns const run_by_run = {use.runs, use.runs, use.used_bytes, use.used_bytes};
    ScatteredRuns const over_gaps = {use.direct.ranges, use.runs, use.used_bytes, use.direct.bytes};
    auto const alone = std::min({run_by_run.cost(), over_gaps.cost(), room_cost(use.used_bytes, use.direct.bytes)});
    auto const together = 2 * use.needed.size() / static_cast<std::uint64_t>(ranks) + use.used_bytes;
    return static_cast<double>(alone) <= kWavePenalty * static_cast<double>(together);
}

/// The same with GPUs, by what crosses the host's memory and the bus: gaps come along, exchange costs next to nothing.
bool is_direct_when_cached_for_gpus(SourceUse const& use, std::int64_t ranks) noexcept {
    auto const together = use.needed.size() / static_cast<std::uint64_t>(ranks);
    return static_cast<double>(use.direct.bytes) < kWavePenalty * static_cast<double>(together);
}

}  // namespace

bool cuts_units(SourceUse const& use, TensorRecord const& stored) noexcept {
    return stored.begin % use.unit_bytes != 0 || kSlotAlignment % use.unit_bytes != 0;
}

Strategy choose_strategy(SourceUse const& use, StrategyInput const& input, MachineProfile const& profile) noexcept {
    Strategy const together = use.is_whole_everywhere ? Strategy::shared : Strategy::cooperative;
    if (input.cuts_units) { return Strategy::direct; }
    if (input.choice == StrategyChoice::cooperative) { return together; }
    if (input.choice == StrategyChoice::direct || input.ranks == 1) { return Strategy::direct; }
    if (input.is_cached) {
        bool const is_direct = input.device == Device::host ? is_direct_when_cached(use, input.ranks)
                                                            : is_direct_when_cached_for_gpus(use, input.ranks);
        return is_direct ? Strategy::direct : together;
    }

    auto const nodes = profile.nodes_of(input.ranks);
    auto const storage = profile.read_bytes_per_second_of(nodes);
    auto const node_exchange = nodes == 1
                                   ? profile.exchange_bytes_per_second
                                   : std::min(profile.exchange_bytes_per_second, profile.network_bytes_per_second);
    auto const exchange = node_exchange * static_cast<double>(nodes);
    auto const readers = use.readers_share * static_cast<double>(input.ranks);
    auto const direct_bytes = static_cast<double>(use.direct.bytes) * readers;
    auto const direct_requests = static_cast<double>(use.direct.ranges) * readers;
    double const direct =
        direct_bytes / storage + direct_requests * profile.request_seconds / static_cast<double>(nodes);

    // Every rank takes its part from the others' stripes, which costs one copy more than reading into place.
    auto const once_bytes = static_cast<double>(use.needed.size());
    double const cooperative =
        once_bytes / storage + profile.request_seconds / static_cast<double>(nodes) + direct_bytes / exchange;
    return direct <= cooperative ? Strategy::direct : together;
}

}  // namespace shardwise
