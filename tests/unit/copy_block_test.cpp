// Runs of bytes and parts of them, against loops over single bytes.
#include "plan/copy_block.hpp"

#include <algorithm>
#include <random>
#include <utility>

#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "support/plan_interpreter.hpp"
#include "support/random_expression.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Where each byte of the source goes, ordered by source.
using ByteMap = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

ByteMap bytes_of(std::vector<CopyBlock> const& blocks) {
    ByteMap bytes;
    for (auto const& block : blocks) {
        for (auto const& run : runs_of(block)) {
            for (std::uint64_t i = 0; i < run.bytes; ++i) { bytes.emplace_back(run.source + i, run.target + i); }
        }
    }
    return bytes;
}

std::uint64_t pick(std::mt19937& random, std::uint64_t low, std::uint64_t high) {
    return std::uniform_int_distribution<std::uint64_t>(low, high)(random);
}

/// Up to three loops whose steps do not overlap in the source; targets anywhere.
CopyBlock random_block(std::mt19937& random) {
    CopyBlock block;
    block.tensor = static_cast<std::uint32_t>(pick(random, 0, 5));
    block.source = pick(random, 0, 40);
    block.target = pick(random, 0, 40);
    block.run_bytes = pick(random, 1, 9);
    auto span = block.run_bytes;
    for (auto loops = pick(random, 0, 3); loops > 0; --loops) {
        CopyLoop const loop = {pick(random, 2, 5), span + pick(random, 0, 1) * pick(random, 0, 12),
                               pick(random, 0, 400)};
        block.loops.insert(block.loops.begin(), loop);
        span += (loop.count - 1) * loop.source_stride;
    }
    return block;
}

TEST(CopyBlock, BytesAndSpanAreWhatItsRunsCover) {
    std::mt19937 random(1);
    for (int i = 0; i < 2000; ++i) {
        auto const block = random_block(random);
        auto const bytes = bytes_of({block});
        ASSERT_EQ(block.bytes(), bytes.size());
        ASSERT_EQ(block.source_span(), bytes.back().first + 1 - bytes.front().first);
        auto const last = std::ranges::max_element(bytes, {}, &ByteMap::value_type::second);
        ASSERT_EQ(block.target + block.target_span(), last->second + 1);
    }
}

/// Experts are lowered from one another; each must come out as it does alone.
TEST(Lower, RegionsAfterOneAnotherAreAsEachAlone) {
    std::mt19937 random(11);
    TensorRecord record;
    record.shape = {6, 8};
    std::size_t compared = 0;
    for (int i = 0; i < 300; ++i) {
        record.dtype = i % 2 == 0 ? DType::bf16 : DType::f8_e4m3;
        std::vector<Expression> experts;
        for (std::uint32_t expert = 0; expert < 4; ++expert) {
            auto leaf = stored(expert, record);
            if (i % 3 == 0) { leaf = cast_of(std::move(leaf), DType::f32); }
            experts.push_back(expert == 2 && i % 5 == 0 ? transpose_of(transpose_of(std::move(leaf), 0, 1), 0, 1)
                                                        : interleave_of(std::move(leaf), i % 2, 1, i % 7 == 0));
        }
        auto const value = stack_of(std::move(experts), pick(random, 0, 2));
        auto const view = slice(evaluate(value), pick(random, 0, 2), 1, 3);
        Lowering lowering(view.shape, value.dtype);
        for (auto const& region : view.regions) {
            ASSERT_EQ(lowering.block(region), lower(region, view.shape, value.dtype)) << "case " << i;
            ++compared;
        }
    }
    EXPECT_GT(compared, 1000U);
}

TEST(Lower, CountsInBytesOfTheType) {
    Region region;
    region.offset = 3;
    region.axes.resize(2);
    region.axes[0] = {0, 4, {{4, 6}}};
    region.axes[1] = {1, 3, {{3, 1}}};
    auto const block = lower(region, {4, 5}, DType::f32);
    EXPECT_EQ(block.source, 12U);
    EXPECT_EQ(block.target, 4U);
    EXPECT_EQ(block.run_bytes, 12U);
    EXPECT_THAT(block.loops, ElementsAre(CopyLoop{4, 24, 20}));
}

TEST(Lower, LoopsAreInTheOrderOfTheSource) {
    auto const view = transpose(whole(0, {3, 4}), 0, 1);  // element (i, j) of the result is source element 4 j + i
    auto const block = lower(view.regions.front(), view.shape, DType::bf16);
    EXPECT_EQ(block.run_bytes, 2U);
    EXPECT_THAT(block.loops, ElementsAre(CopyLoop{3, 8, 2}, CopyLoop{4, 2, 6}));
}

TEST(Lower, CastsCountSourceAndTargetEachInTheirOwnBytes) {
    auto region = whole(0, {3, 4}).regions.front();
    region.dtype = DType::f32;
    auto const block = lower(region, {3, 4}, DType::bf16);
    EXPECT_EQ(block.run_bytes, 48U);
    EXPECT_EQ(block.cast, (ElementCast{.from = DType::f32, .to = DType::bf16, .target_step = 2}));
    EXPECT_EQ(block.bytes(), 48U);
    EXPECT_EQ(block.target_bytes(), 24U);

    region.dtype = DType::bf16;
    EXPECT_TRUE(lower(region, {3, 4}, DType::bf16).cast.is_move());
}

TEST(Lower, CastElementsNeedBeNeighboursInTheSourceOnly) {
    auto view = transpose(whole(0, {3, 4}), 0, 1);
    view.regions.front().dtype = DType::f8_e4m3;
    auto const block = lower(view.regions.front(), view.shape, DType::f32);
    EXPECT_EQ(block.run_bytes, 4U);
    EXPECT_EQ(block.cast, (ElementCast{.from = DType::f8_e4m3, .to = DType::f32, .target_step = 12}));
    EXPECT_THAT(block.loops, ElementsAre(CopyLoop{3, 4, 4}));
}

TEST(Clip, OfACastGivesTheElementsInTheRange) {
    CopyBlock block;
    block.source = 8;
    block.target = 100;
    block.run_bytes = 16;
    block.loops = {{3, 20, 2}};
    block.cast = {.from = DType::f32, .to = DType::bf16, .target_step = 6};
    std::vector<CopyBlock> parts;
    clip(block, {12, 32}, parts);
    ASSERT_EQ(parts.size(), 2U);
    EXPECT_EQ(parts[0].source, 12U);
    EXPECT_EQ(parts[0].target, 106U);
    EXPECT_EQ(parts[0].run_bytes, 12U);
    EXPECT_EQ(parts[1].source, 28U);
    EXPECT_EQ(parts[1].target, 102U);
    EXPECT_EQ(parts[1].run_bytes, 4U);
    EXPECT_EQ(parts[1].cast, block.cast);
}

TEST(Lower, PackedTypesMayBeCutBetweenBytesOnly) {
    auto const even = slice(whole(0, {4, 6}), 1, 2, 4);
    auto const block = lower(even.regions.front(), even.shape, DType::f4);
    EXPECT_EQ(block.source, 1U);
    EXPECT_EQ(block.run_bytes, 1U);
    EXPECT_THAT(block.loops, ElementsAre(CopyLoop{4, 3, 1}));

    auto const odd = slice(whole(0, {4, 6}), 1, 3, 6);
    try {
        lower(odd.regions.front(), odd.shape, DType::f4);
        FAIL() << "half a byte was cut off";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::input);
        EXPECT_THAT(error.what(), HasSubstr("F4"));
    }
}

TEST(Clip, GivesExactlyTheBytesInTheRange) {
    std::mt19937 random(2);
    for (int i = 0; i < 20000; ++i) {
        auto const block = random_block(random);
        auto const begin = pick(random, 0, block.source + block.source_span() + 5);
        ByteRange const range = {begin, begin + pick(random, 0, block.source_span() + 5)};
        auto expected = bytes_of({block});
        std::erase_if(expected, [&](auto const& byte) { return byte.first < range.begin || byte.first >= range.end; });

        std::vector<CopyBlock> parts;
        clip(block, range, parts);
        ASSERT_EQ(bytes_of(parts), expected) << "block " << i << ", range " << range.begin << " to " << range.end;
        ASSERT_LE(parts.size(), 2 * block.loops.size() + 1);
        for (auto const& part : parts) { ASSERT_EQ(part.tensor, block.tensor); }
    }
}

TEST(SourceRanges, CoverEveryByteInOrderAndReadOverSmallHolesOnly) {
    std::mt19937 random(3);
    for (int i = 0; i < 20000; ++i) {
        auto const block = random_block(random);
        auto const max_gap = pick(random, 0, 15);
        std::vector<ByteRange> ranges;
        source_ranges(block, max_gap, ranges);

        auto range = ranges.begin();
        std::uint64_t covered = range->begin;  // up to here, of the current range
        for (auto const& [byte, target] : bytes_of({block})) {
            if (byte >= range->end) {
                ASSERT_EQ(covered, range->end) << "a range goes on after its last needed byte";
                ASSERT_NE(++range, ranges.end());
                ASSERT_EQ(byte, range->begin) << "a range begins before its first needed byte";
                covered = byte;
            }
            ASSERT_LE(byte - covered, max_gap);
            covered = byte + 1;
        }
        ASSERT_EQ(range + 1, ranges.end());
        ASSERT_EQ(covered, range->end);
    }
}

TEST(SourceRanges, AreEstimatedWithoutMakingThem) {
    std::mt19937 random(4);
    for (int i = 0; i < 5000; ++i) {
        auto const block = random_block(random);
        auto const max_gap = pick(random, 0, 15);
        std::vector<ByteRange> ranges;
        source_ranges(block, max_gap, ranges);
        std::uint64_t bytes = 0;
        for (auto const& range : ranges) { bytes += range.size(); }
        auto const estimate = estimate_ranges(block, max_gap);
        ASSERT_EQ(estimate.ranges, ranges.size());
        ASSERT_EQ(estimate.bytes, bytes);
    }
}

/// The blocks of a random chain of conversions, which put every byte into a place of its own.
std::vector<CopyBlock> random_parameter(std::mt19937& random) {
    auto const expression = random_case(random).expression;
    std::vector<CopyBlock> blocks;
    for (auto const& region : evaluate(expression).regions) {
        blocks.push_back(lower(region, expression.shape, expression.dtype));
    }
    return blocks;
}

TEST(Swapped, SaysForEveryByteWhereItCameFromInTheOrderOfWhereItIs) {
    std::mt19937 random(5);
    std::size_t seen = 0;
    for (int i = 0; i < 2000; ++i) {
        for (auto const& block : random_parameter(random)) {
            ByteMap expected;
            for (auto const& [source, target] : bytes_of({block})) { expected.emplace_back(target, source); }
            std::sort(expected.begin(), expected.end());
            ASSERT_EQ(bytes_of({swapped(block)}), expected);
            ASSERT_EQ(swapped(swapped(block)), block);
            seen += expected.size();
        }
    }
    EXPECT_GT(seen, 50'000U);
}

TEST(Swapped, PartsOfATargetRangeAreTheBytesThatGoThere) {
    std::mt19937 random(6);
    for (int i = 0; i < 1000; ++i) {
        for (auto const& block : random_parameter(random)) {
            auto const back = swapped(block);
            auto const begin = back.source + pick(random, 0, back.source_span());
            ByteRange const range = {begin, begin + pick(random, 1, back.source_span())};
            ByteMap expected;
            for (auto const& [source, target] : bytes_of({block})) {
                if (range.begin <= target && target < range.end) { expected.emplace_back(target, source); }
            }
            std::sort(expected.begin(), expected.end());
            std::vector<CopyBlock> parts;
            clip(back, range, parts);
            ASSERT_EQ(bytes_of(parts), expected);
        }
    }
}

}  // namespace
}  // namespace shardwise::test
