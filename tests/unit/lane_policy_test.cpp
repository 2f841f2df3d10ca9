#include "exec/lane_policy.hpp"

#include <gmock/gmock.h>
#include <sched.h>

#include "support/one_hardware_thread.hpp"

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

TEST(LanePolicy, BoundRanksHaveCoresOfTheirOwnOthersShare) {
    EXPECT_EQ(usable_cores({.allowed = 4, .node = 64}, 8), 4U);
    EXPECT_EQ(usable_cores({.allowed = 64, .node = 64}, 8), 8U);
    EXPECT_EQ(usable_cores({.allowed = 2, .node = 2}, 8), 1U);
    EXPECT_THAT(binding_note({.allowed = 1, .node = 64}, 2), HasSubstr("bound to 1 core(s) each, the node has 32"));
    EXPECT_EQ(binding_note({.allowed = 4, .node = 64}, 2), "") << "more lanes than these are not used";
    EXPECT_EQ(binding_note({.allowed = 1, .node = 8}, 8), "");
}

/// Held against the kernel's own word.
TEST(Cores, AreThoseThatThisThreadIsAllowedToRunOn) {
    cpu_set_t before;
    ASSERT_EQ(::sched_getaffinity(0, sizeof(before), &before), 0);
    auto const cores = count_cores();
    EXPECT_GE(cores.allowed, 1U);
    EXPECT_LE(cores.allowed, cores.node);
    EXPECT_LE(cores.allowed, static_cast<std::size_t>(CPU_COUNT(&before))) << "a core has one hardware thread or more";
    OneHardwareThread const binding;
    auto const bound = count_cores();
    EXPECT_EQ(bound.allowed, 1U);
    EXPECT_EQ(bound.node, cores.node);
}

TEST(Cores, HardwareThreadsTellAsMuchWhereTheyDo) {
    auto const cores = count_cores();
    auto const threads = count_hardware_threads();
    EXPECT_GE(threads.node, cores.node);
    EXPECT_GE(threads.allowed, cores.allowed);
    for (std::size_t ranks = 1; ranks < 3 * threads.node; ++ranks) {
        EXPECT_EQ(own_usable_cores(ranks), usable_cores(cores, ranks)) << ranks;
        EXPECT_EQ(own_binding_note(ranks), binding_note(cores, ranks)) << ranks;
    }
}

TEST(LanePolicy, SaysWhy) {
    Plan plan;
    plan.store_bytes = 1000 * kMiB;
    plan.files = {{"a", 1000 * kMiB, 0}};
    std::size_t asked = 0;
    auto const choose = [&](LoadOptions const& options, std::size_t cores) {
        return choose_lanes(plan, options, [&] { return ++asked, cores; });
    };
    EXPECT_EQ(choose({.lanes = 7}, 2).lanes, 7U);
    EXPECT_EQ(choose({.lanes = 7}, 2).reason, "as asked for");
    auto const adaptive = choose({.lane_policy = LanePolicy::file_adaptive}, 64);
    EXPECT_EQ(adaptive.lanes, 1U);
    EXPECT_THAT(adaptive.reason, HasSubstr("file-adaptive"));
    EXPECT_EQ(asked, 0U) << "one file is not enough for two, whatever the cores";
    auto const by_bytes = choose({}, 3);
    EXPECT_EQ(by_bytes.lanes, 3U);
    EXPECT_THAT(by_bytes.reason, HasSubstr("3 core(s)"));
    EXPECT_EQ(choose({}, 64).lanes, 4U);
    EXPECT_EQ(asked, 2U);
    EXPECT_EQ(wanted_lanes(plan, {}), 4U);
    plan.store_bytes = 5;
    EXPECT_EQ(choose({}, 64).lanes, 1U);
    EXPECT_EQ(wanted_lanes(plan, {}), 1U);
}

}  // namespace
}  // namespace shardwise::test
