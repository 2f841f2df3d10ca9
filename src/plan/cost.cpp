#include "plan/cost.hpp"

namespace shardwise {

Strategy choose_strategy(SourceUse const& use, StrategyInput const& input) noexcept {
    Strategy const together = use.is_whole_everywhere ? Strategy::shared : Strategy::cooperative;
    if (input.choice == StrategyChoice::cooperative) { return together; }
    if (input.choice == StrategyChoice::direct || input.world == 1 || input.is_cached) { return Strategy::direct; }

    auto const& profile = input.profile;
    auto const ranks = static_cast<double>(input.world);
    auto const direct_bytes = static_cast<double>(use.direct.bytes) * ranks;
    auto const direct_requests = static_cast<double>(use.direct.ranges) * ranks;
    double const direct = direct_bytes / profile.bytes_per_second + direct_requests * profile.request_seconds;

    // Every rank takes its part from the others' stripes, which costs one copy more than reading into place.
    auto const once_bytes = static_cast<double>(use.needed.size());
    double const cooperative = once_bytes / profile.bytes_per_second + profile.request_seconds +
                               direct_bytes / profile.exchange_bytes_per_second;
    return direct <= cooperative ? Strategy::direct : together;
}

}  // namespace shardwise
