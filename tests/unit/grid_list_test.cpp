// What descriptors are made of jobs: which accesses and tiles they get, and that large ones are cut without loss.
#include "convert/grid_list.hpp"

#include <random>

#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "convert/grid_kernel.hpp"
#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;

/// An address that is never followed.
std::byte* at(std::uint64_t address) {
    return reinterpret_cast<std::byte*>(address);
}
std::uint64_t address(std::byte const* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer);
}

constexpr std::uint64_t kSource = 1ULL << 40U;
constexpr std::uint64_t kTarget = 2ULL << 40U;

std::vector<GridBlock> blocks_of(GridJob job) {
    GridList list;
    list.add(std::move(job));
    return {list.blocks().begin(), list.blocks().end()};
}

TEST(FastDivisor, DividesAsDivisionDoes) {
    std::mt19937 random(1);
    constexpr std::uint32_t kMost = (1U << 31U) - 1;
    std::vector<std::uint32_t> divisors = {1, 2, 3, 5, 7, 255, 256, 257, 65535, 65536, 1U << 30U, kMost - 1, kMost};
    for (int i = 0; i < 2000; ++i) { divisors.push_back(1 + static_cast<std::uint32_t>(random()) % kMost >> i % 31); }
    for (auto const given : divisors) {
        auto const by = std::max(given, 1U);
        auto const divisor = fast_divisor(by);
        for (int i = 0; i < 200; ++i) {
            auto const whole = static_cast<std::uint32_t>(random()) % kMost / by * by;
            for (auto const n : {whole, whole + (whole < kMost), whole - (whole > 0), kMost, 0U}) {
                ASSERT_EQ(divisor.quotient(n), n / by) << n << " by " << by;
                ASSERT_EQ(divisor.remainder(n), n % by) << n << " by " << by;
            }
        }
    }
}

TEST(GridList, AlignedRunsAreMovedSixteenBytesAtATime) {
    auto const blocks = blocks_of({.source = at(kSource), .target = at(kTarget), .run = 1 << 20U});
    ASSERT_EQ(blocks.size(), 1U);
    EXPECT_EQ(blocks[0].work, GridWork::move);
    EXPECT_EQ(blocks[0].group, 16);
    EXPECT_EQ(blocks[0].groups, (1U << 20U) / 16);
}

TEST(GridList, RowsOfACutAreOneDescriptor) {
    auto const blocks =
        blocks_of({.source = at(kSource), .target = at(kTarget), .run = 2048, .steps = {{512, 16384, 2048, 0}}});
    ASSERT_EQ(blocks.size(), 1U);
    EXPECT_EQ(blocks[0].group, 16);
    EXPECT_EQ(blocks[0].loop_count, 2);
    EXPECT_EQ(blocks[0].groups, 512U * 128);
}

TEST(GridList, LongRunsThatBeginElsewhereAreStoredSixteenBytesAtATime) {
    GridList list;
    list.add({.source = at(kSource + 6), .target = at(kTarget + 10), .run = 10000});
    std::vector<int> groups;
    std::uint64_t bytes = 0;
    for (auto const& block : list.blocks()) {
        bytes += std::uint64_t{block.groups} * block.group;
        groups.push_back(block.group);
    }
    EXPECT_EQ(bytes, 10000U);
    ASSERT_THAT(groups, ElementsAre(2, 2, 16));
    auto const& body = list.blocks().back();
    EXPECT_EQ(body.work, GridWork::move_shifted);
    EXPECT_EQ(address(body.target) % 16, 0U);
    EXPECT_EQ(address(body.source) % 4, 0U);
    EXPECT_EQ(address(body.target) - kTarget - 10, address(body.source) + body.shift - kSource - 6);
}

TEST(GridList, JoinsLoopsThatAreOne) {
    auto const blocks = blocks_of({.source = at(kSource),
                                   .target = at(kTarget),
                                   .run = 64,
                                   .steps = {{5, 4096, 8192, 0}, {1, 7, 9, 0}, {4, 1024, 2048, 0}, {16, 64, 64, 0}}});
    ASSERT_EQ(blocks.size(), 1U);
    EXPECT_EQ(blocks[0].loop_count, 2);
    EXPECT_EQ(blocks[0].loops[0].count.divisor, 1024U / 16);
    EXPECT_EQ(blocks[0].loops[1].count.divisor, 20U);
}

TEST(GridList, MoreThanADescriptorHoldsIsCutWithoutLoss) {
    constexpr std::uint64_t kBytes = (5ULL << 32U) + 48;
    std::uint64_t next = 0;
    for (auto const& block : blocks_of({.source = at(kSource), .target = at(kTarget), .run = kBytes})) {
        EXPECT_EQ(address(block.source) - kSource, next);
        EXPECT_EQ(address(block.target) - kTarget, next);
        EXPECT_EQ(block.group, 16);
        next += std::uint64_t{block.groups} * 16;
    }
    EXPECT_EQ(next, kBytes);
}

TEST(GridList, LoopsOverMoreThanADescriptorHoldsAreCut) {
    constexpr std::uint64_t kRows = 3ULL << 32U;
    std::uint64_t rows = 0;
    for (auto const& block :
         blocks_of({.source = at(kSource), .target = at(kTarget), .run = 1, .steps = {{kRows, 3, 2, 0}}})) {
        EXPECT_EQ(address(block.source) - kSource, rows * 3);
        EXPECT_EQ(address(block.target) - kTarget, rows * 2);
        EXPECT_LE(block.groups, 1U << 30U);
        rows += block.groups;
    }
    EXPECT_EQ(rows, kRows);
}

TEST(GridList, ElementsThatThirtyTwoBitsDoNotCountAreCutApart) {
    BlockScaling scaling;
    scaling.grid = block_grid({512, 4096, 4096}, {512, 32, 32});
    scaling.scales = {{at(kSource), 1U << 30U}, DType::f32};
    GridJob job = {.source = at(kSource), .target = at(kTarget), .run = 64, .target_step = 2};
    job.steps = {{512, 1U << 24U, 4096 * 128 + 16, 1U << 24U}, {4096, 4096, 128, 4096}};
    job.element = 128;
    job.from = DType::f8_e4m3;
    job.to = DType::bf16;
    job.scaling = &scaling;
    std::uint64_t experts = 0;
    for (auto const& block : blocks_of(job)) {
        auto const count = block.loop_count == 3 ? block.loops[2].count.divisor : 1;
        auto const last = block.element + (count - 1) * std::uint64_t{1U << 24U} + (1U << 24U);
        EXPECT_LT(last, std::uint64_t{1} << 31U);
        EXPECT_TRUE(block.scales.is_shared);
        EXPECT_EQ(block.scales.first_row, experts * 4096);
        EXPECT_EQ(block.element, 128U);
        experts += count;
    }
    EXPECT_EQ(experts, 512U);
}

TEST(GridList, LoopsTooDeepAreUnrolled) {
    GridJob job = {.source = at(kSource), .target = at(kTarget), .run = 16};
    job.steps = {{3, 1 << 20U, 1 << 21U, 0}, {9, 1 << 16U, 1 << 18U, 0}, {2, 1 << 12U, 1 << 14U, 0},
                 {7, 1 << 9U, 1 << 11U, 0},  {5, 1 << 6U, 1 << 7U, 0},   {2, 32, 48, 0}};
    auto const blocks = blocks_of(job);
    EXPECT_EQ(blocks.size(), 4U) << "one for each round of the two shortest loops";
    std::uint64_t groups = 0;
    for (auto const& block : blocks) { groups += block.groups; }
    EXPECT_EQ(groups, 3U * 9 * 2 * 7 * 5 * 2);
}

TEST(GridList, TilesOfAListFollowEachOther) {
    std::mt19937 random(2);
    GridList list;
    for (int i = 0; i < 300; ++i) {
        list.add({.source = at(kSource), .target = at(kTarget), .run = 1 + random() % (1U << random() % 22)});
    }
    auto const blocks = list.blocks();
    std::uint32_t next = 0;
    for (std::uint32_t i = 0; i < blocks.size(); ++i) {
        EXPECT_EQ(blocks[i].first_tile, next);
        next = i + 1 < blocks.size() ? blocks[i + 1].first_tile : list.size().tiles;
        for (auto const tile : {blocks[i].first_tile, next - 1}) {
            EXPECT_EQ(block_of_tile(blocks.data(), list.size().blocks, tile), i);
        }
    }
    list.clear();
    EXPECT_EQ(list.size().tiles, 0U);
    EXPECT_TRUE(list.blocks().empty());
}

TEST(GridList, NeighboursOnBothSidesAreTransposed) {
    GridJob job = {.source = at(kSource), .target = at(kTarget), .run = 2};
    job.steps = {{100, 1 << 16U, 1 << 16U, 0}, {64, 400, 2, 0}, {200, 2, 128, 0}};
    auto const blocks = blocks_of(job);
    ASSERT_EQ(blocks.size(), 1U);
    EXPECT_EQ(blocks[0].work, GridWork::transpose);
    EXPECT_EQ(blocks[0].side_tiles[0].divisor, 4U);
    EXPECT_EQ(blocks[0].side_tiles[1].divisor, 1U);
    EXPECT_EQ(blocks[0].element_step, 128U);
}

TEST(GridList, RefusesWhatIsNoNumber) {
    GridList list;
    EXPECT_THAT(error_of([&] { list.add({.run = 4, .from = DType::i32, .to = DType::f32}); }),
                IsError(Errc::input, "I32 cannot be cast to F32"));
}

}  // namespace
}  // namespace shardwise::test
