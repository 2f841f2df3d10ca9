#include "exec/lane_policy.hpp"

#include <gmock/gmock.h>

namespace shardwise::test {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kMB = 1'000'000;
constexpr std::uint64_t kMiB = 1ULL << 20U;

/// The table of the loader that the policy comes from: max(1, min(max(1, floor(sum / 100 MiB)), most, files)).
TEST(LanePolicy, FileAdaptive) {
    auto const lanes = [](std::vector<std::uint64_t> const& files, std::size_t most = 4) {
        return file_adaptive_lanes(files, most);
    };
    EXPECT_EQ(lanes({}), 1U);
    EXPECT_EQ(lanes({0}), 1U);
    EXPECT_EQ(lanes({30 * kMB, 30 * kMB, 30 * kMB, 30 * kMB}), 1U);
    EXPECT_EQ(lanes({1000 * kMB, 1000 * kMB, 1000 * kMB, 1000 * kMB}), 4U);
    EXPECT_EQ(lanes({40'000 * kMB}), 1U);
    EXPECT_EQ(lanes({150 * kMiB, 149 * kMiB, 0}), 2U) << "299 MiB in three files, of which one is missing";
    EXPECT_EQ(lanes({150 * kMiB, 150 * kMiB, 0}), 3U);
    EXPECT_EQ(lanes({1000 * kMB, 1000 * kMB, 1000 * kMB}, 2), 2U);
    EXPECT_EQ(lanes({1000 * kMB}, 0), 1U);
}

TEST(LanePolicy, ByBytesOneFileUsesAllLanes) {
    EXPECT_EQ(lanes_by_bytes(0, 4), 1U);
    EXPECT_EQ(lanes_by_bytes(16 * kMiB, 4), 1U);
    EXPECT_EQ(lanes_by_bytes(16 * kMiB + 1, 4), 2U);
    EXPECT_EQ(lanes_by_bytes(40'000 * kMB, 4), 4U);
    EXPECT_EQ(lanes_by_bytes(40'000 * kMB, 2), 2U);
    EXPECT_EQ(lanes_by_bytes(40'000 * kMB, 0), 1U);
}

TEST(LanePolicy, SaysWhy) {
    Plan plan;
    plan.store_bytes = 1000 * kMiB;
    plan.files = {{"a", 1000 * kMiB, 0}};
    EXPECT_EQ(choose_lanes(plan, {.lanes = 7}, 2).lanes, 7U);
    EXPECT_EQ(choose_lanes(plan, {.lanes = 7}, 2).reason, "as asked for");
    auto const by_bytes = choose_lanes(plan, {}, 3);
    EXPECT_EQ(by_bytes.lanes, 3U);
    EXPECT_THAT(by_bytes.reason, HasSubstr("3 core(s)"));
    EXPECT_EQ(choose_lanes(plan, {}, 64).lanes, 4U);
    auto const adaptive = choose_lanes(plan, {.lane_policy = LanePolicy::file_adaptive}, 64);
    EXPECT_EQ(adaptive.lanes, 1U);
    EXPECT_THAT(adaptive.reason, HasSubstr("file-adaptive"));
}

}  // namespace
}  // namespace shardwise::test
