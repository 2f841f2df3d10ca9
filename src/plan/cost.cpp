#include "plan/cost.hpp"

namespace shardwise {

Strategy choose_strategy(SourceUse const& use, StorageProfile const& profile, std::int64_t world, StrategyChoice choice) noexcept {
    Strategy const together = use.is_whole_everywhere ? Strategy::shared : Strategy::cooperative;
    if (choice == StrategyChoice::direct) { return Strategy::direct; }
    if (choice == StrategyChoice::cooperative) { return together; }
    if (world == 1) { return Strategy::direct; }

    auto const ranks = static_cast<double>(world);
    auto const direct_bytes = static_cast<double>(use.direct.bytes) * ranks;
    auto const direct_requests = static_cast<double>(use.direct.ranges) * ranks;
    double const direct = direct_bytes / profile.bytes_per_second + direct_requests * profile.request_seconds;

    // Every rank takes its part from the others' stripes, which costs one copy more than reading into place.
    auto const once_bytes = static_cast<double>(use.needed.size());
    double const cooperative =
        once_bytes / profile.bytes_per_second + profile.request_seconds + direct_bytes / profile.exchange_bytes_per_second;
    return direct <= cooperative ? Strategy::direct : together;
}

}  // namespace shardwise
