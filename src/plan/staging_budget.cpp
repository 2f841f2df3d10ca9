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
constexpr std::uint64_t kGreatestDirectBuffers = 16;
constexpr std::uint32_t kSlots = 3;
constexpr std::uint64_t kGoodStripe = 2ULL << 20U;  ///< stripes as long are read as fast as longer ones
constexpr std::int64_t kLeastReaders = 8;           ///< of one wave, of all stages together, if there are as many

/// What fits the place that bytes are brought to.
struct Sizes {
    std::uint64_t greatest_request;
    std::uint64_t greatest_stripe;
    std::uint32_t exchanges_at_once;
    std::uint64_t wave_parts;  ///< of memory a wave's line long
};

/// While pieces of one wave are put in place, those of the next one are under way. Slots, outboxes, messages in and
/// out.
constexpr Sizes kHostSizes = {2ULL << 20U, 4ULL << 20U, 2, 2 * kSlots + 2 * 2};

constexpr std::uint64_t kDescriptorShare = 32;  ///< of the staging memory one stream's descriptors take this part
constexpr std::uint64_t kMostDescriptorBytes = 4ULL << 20U;

/// Slots as long as half a line at most, messages in and out. NCCL wants one order of everything on all ranks, so
/// there is one exchange at a time.
constexpr Sizes kGpuSizes = {4ULL << 20U, 16ULL << 20U, 1, (kSlots + 1) / 2 + 2};

/// Ranks of a stage that read in one wave: as many as find a good stripe on the line, yet no fewer than keep a small
/// world busy.
std::int64_t stage_stripes(Mesh const& mesh, std::uint64_t line_bytes) {
    auto const good = static_cast<std::int64_t>(line_bytes / kGoodStripe) / mesh.pp;
    auto const least = ceil_div(kLeastReaders, mesh.pp);
    return std::min(mesh.world() / mesh.pp, std::max(good, least));
}

}  // namespace

StagingBudget divide_staging(std::uint64_t staging_bytes, Mesh const& mesh, Device device) {
    auto const& sizes = device == Device::host ? kHostSizes : kGpuSizes;
    auto const direct_bytes = staging_bytes / 4;
    auto const line_bytes = (staging_bytes - direct_bytes) / sizes.wave_parts;
    StagingBudget budget;
    budget.stage_stripes = stage_stripes(mesh, line_bytes);
    auto const stripes = static_cast<std::uint64_t>(budget.stage_stripes * mesh.pp);
    auto const least = std::max(kLeastStaging, 2 * sizes.wave_parts * kSlotAlignment * stripes);
    if (staging_bytes < least) {
        throw Error(Errc::memory, fmt::format("--staging {} is too small for {} rank(s): {} is the least",
                                              format_bytes(staging_bytes), mesh.world(), format_bytes(least)));
    }
    budget.request_bytes =
        align_down(std::clamp(direct_bytes / 4, kLeastRequest, sizes.greatest_request), kSlotAlignment);
    budget.stripe_bytes = std::min(align_down(line_bytes / stripes, kSlotAlignment), sizes.greatest_stripe);
    if (budget.stripe_bytes > budget.request_bytes) {  // a short request more would be worth less than it costs
        budget.stripe_bytes = align_down(budget.stripe_bytes, budget.request_bytes);
    }
    budget.direct_buffers =
        static_cast<std::uint32_t>(std::min(direct_bytes / budget.request_bytes, kGreatestDirectBuffers));
    budget.slot_count = kSlots;
    budget.exchanges_at_once = sizes.exchanges_at_once;
    if (device == Device::cuda) {
        budget.descriptor_bytes = std::min(staging_bytes / kDescriptorShare, kMostDescriptorBytes);
    }
    return budget;
}

}  // namespace shardwise
