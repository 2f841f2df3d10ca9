// What lands and what is left to copy are together what the blocks say, and only what may land does.
#include "exec/landings.hpp"

#include <algorithm>
#include <cstring>
#include <random>

#include <gmock/gmock.h>

#include "convert/place.hpp"
#include "device/host_memory.hpp"
#include "device/memory.hpp"
#include "support/random_blocks.hpp"

namespace shardwise::test {
namespace {

constexpr std::uint64_t kPage = kSlotAlignment;
constexpr std::byte kFresh{0xA5};

CopyBlock run(std::uint32_t tensor, std::uint64_t source, std::uint64_t target, std::uint64_t bytes) {
    CopyBlock block;
    block.tensor = tensor;
    block.source = source;
    block.target = target;
    block.run_bytes = bytes;
    return block;
}

class LandingsTest : public testing::Test {
   protected:
    LandingsTest() {
        for (auto& memory : memories_) { tensors_.push_back(memory.bytes()); }
        clear();
    }

    void clear() {
        for (auto const tensor : tensors_) { std::ranges::fill(tensor, kFresh); }
    }

    std::vector<std::byte> held() const {
        std::vector<std::byte> all;
        for (auto const tensor : tensors_) { all.insert(all.end(), tensor.begin(), tensor.end()); }
        return all;
    }

    /// Places as storage and a copy would do together, and compares with the copy of everything.
    Landings check(FileRange const& range, std::vector<CopyBlock> const& blocks, std::uint64_t alignment) {
        auto const from = std::span(file_).subspan(range.begin, range.size_bytes);
        clear();
        place_reference(blocks, from, tensors_);
        auto const right = held();
        clear();
        auto found = find_landings(range, blocks, tensors_, alignment);
        std::vector<std::byte> buffer(from.begin(), from.end());
        for (auto const& [begin, into] : found.landings) {
            EXPECT_EQ(begin % kPage, 0U);
            EXPECT_EQ(into.size() % kPage, 0U);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(into.data()) % alignment, 0U);
            EXPECT_GE(begin, range.begin);
            EXPECT_LE(begin + into.size(), range.end());
            std::memcpy(into.data(), file_.data() + begin, into.size());
            std::memset(buffer.data() + (begin - range.begin), 0, into.size());  // it never gets there
        }
        place_reference(found.landings.empty() ? blocks : found.rest, buffer, tensors_);
        EXPECT_TRUE(held() == right);
        return found;
    }

    static constexpr std::uint64_t kBytes = 1ULL << 20U;

    std::mt19937 random_{7};
    std::vector<std::byte> file_ = random_bytes(random_, kBytes);
    std::vector<Memory> memories_ = {make_host_memory(kBytes), make_host_memory(kBytes)};
    std::vector<std::span<std::byte>> tensors_;
};

TEST_F(LandingsTest, APageOfTheFileLandsWhereItsPlaceIsAlignedAsTheDeviceWants) {
    auto const bytes = 20 * kPage;
    auto const found = check({0, 100, bytes}, {run(0, 0, 0, bytes)}, 4);
    ASSERT_EQ(found.landings.size(), 1U);
    EXPECT_EQ(found.landings[0].begin, kPage);
    EXPECT_EQ(found.landings[0].into.data(), tensors_[0].data() + (kPage - 100));
    EXPECT_EQ(found.bytes(), 19 * kPage);
    EXPECT_EQ(found.rest.size(), 2U) << "what comes before the first page, and after the last";
    EXPECT_TRUE(check({0, 100, bytes}, {run(0, 0, 0, bytes)}, 512).landings.empty());
    EXPECT_EQ(check({0, 100, bytes}, {run(0, 0, 100, bytes)}, 512).bytes(), 19 * kPage);
    EXPECT_EQ(check({0, 3 * kPage, bytes}, {run(0, 0, kPage, bytes)}, kPage).rest.size(), 0U);
}

TEST_F(LandingsTest, NeighboursInTheFileLandInTheirTensorsAndThePageThatTheyShareIsCopied) {
    auto const bytes = 18 * kPage;
    auto const found = check({0, 0, 2 * bytes + 8}, {run(0, 0, 0, bytes + 8), run(1, bytes + 8, 8, bytes)}, 8);
    ASSERT_EQ(found.landings.size(), 2U);
    EXPECT_EQ(found.landings[1].begin, bytes + kPage);
    EXPECT_EQ(found.rest.size(), 3U);
}

TEST_F(LandingsTest, WhatIsShortOrCastOrWantedTwiceDoesNotLand) {
    auto const bytes = 2 * kLeastLanding;
    EXPECT_TRUE(check({0, 0, kLeastLanding}, {run(0, 0, 0, kLeastLanding - 1)}, 4).landings.empty());
    auto cast = run(0, 0, 0, bytes);
    cast.cast = {.from = DType::bf16, .to = DType::f32, .target_step = 4};
    EXPECT_TRUE(check({0, 0, bytes}, {cast}, 4).landings.empty());
    EXPECT_TRUE(check({0, 0, bytes}, {run(0, 0, 0, bytes), run(1, 0, 0, bytes)}, 4).landings.empty());
    EXPECT_EQ(check({0, 0, 2 * bytes}, {run(0, 0, 0, bytes), run(1, 0, 0, 5), run(1, bytes, 8, bytes)}, 4).bytes(),
              bytes);
}

TEST_F(LandingsTest, AnyBlocksAreInPlaceAfterwards) {
    auto const pick = [&](std::uint64_t low, std::uint64_t high) {
        return std::uniform_int_distribution<std::uint64_t>(low, high)(random_);
    };
    std::uint64_t landed = 0;
    std::uint64_t copied = 0;
    for (int i = 0; i < 300; ++i) {
        std::vector<CopyBlock> blocks;
        std::uint64_t at = pick(0, 9) * 8;
        std::vector<std::uint64_t> ends = {0, 0};
        for (auto count = pick(1, 4); count > 0; --count) {
            auto const tensor = static_cast<std::uint32_t>(pick(0, 1));
            auto block = run(tensor, at, ends[tensor] + pick(0, 2) * 8, pick(8, 30) * kPage + pick(0, 1) * 1000);
            if (pick(0, 2) == 0) {
                auto const stride = block.run_bytes + pick(0, 2) * 512;
                block.loops.push_back({pick(1, 2), stride, stride});
            }
            at += block.source_span() + pick(0, 3) * 16;
            ends[tensor] = block.target + block.target_span();
            blocks.push_back(block);
        }
        FileRange const range = {0, pick(0, 1) * pick(0, 3 * kPage), at};
        if (range.end() > kBytes || ends[0] > kBytes || ends[1] > kBytes) { continue; }
        auto const found = check(range, blocks, std::uint64_t{1} << pick(2, 10));
        ASSERT_FALSE(::testing::Test::HasFailure()) << "case " << i;
        (found.landings.empty() ? copied : landed) += 1;
    }
    EXPECT_GT(landed, 50U);
    EXPECT_GT(copied, 50U);
}

}  // namespace
}  // namespace shardwise::test
