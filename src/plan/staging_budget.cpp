#include "plan/staging_budget.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <shardwise/error.hpp>
#include <shardwise/plan.hpp>

#include "util/checked.hpp"
#include "util/units.hpp"

namespace shardwise {
namespace {

constexpr std::uint64_t kLeastStaging = 1ULL << 20U;
constexpr std::uint64_t kLeastRequest = 64ULL << 10U;
constexpr std::uint64_t kGreatestRequest = 2ULL << 20U;
constexpr std::uint64_t kGreatestDirectBuffers = 16;
constexpr std::uint64_t kGreatestStripe = 4ULL << 20U;
constexpr std::uint32_t kSlots = 3;
constexpr std::uint64_t kWaveParts =
    2 * kSlots + 2;  ///< of memory a wave's line long: slots, outboxes, messages in and out

}  // namespace

StagingBudget divide_staging(std::uint64_t staging_bytes, std::int64_t world) {
    auto const stripe_step = kSlotAlignment * static_cast<std::uint64_t>(world);
    auto const least = std::max(kLeastStaging, 2 * kWaveParts * stripe_step);
    if (staging_bytes < least) {
        throw Error(Errc::memory, fmt::format("--staging {} is too small for {} rank(s): {} is the least",
                                              format_bytes(staging_bytes), world, format_bytes(least)));
    }
    StagingBudget budget;
    auto const direct_bytes = staging_bytes / 4;
    budget.request_bytes = align_down(std::clamp(direct_bytes / 4, kLeastRequest, kGreatestRequest), kSlotAlignment);
    budget.direct_buffers =
        static_cast<std::uint32_t>(std::min(direct_bytes / budget.request_bytes, kGreatestDirectBuffers));
    budget.slot_count = kSlots;
    auto const greatest_wave = kGreatestStripe * static_cast<std::uint64_t>(world);
    budget.wave_bytes =
        std::min((staging_bytes - direct_bytes) / kWaveParts / stripe_step * stripe_step, greatest_wave);
    return budget;
}

}  // namespace shardwise
