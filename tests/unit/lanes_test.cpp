// Copying threads: whatever their number, every job is done once and comes back.
#include "exec/lanes.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <random>

#include <gmock/gmock.h>

#include "plan/cached_cost.hpp"

namespace shardwise::test {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kJobs = 400;
constexpr std::size_t kPiece = 96;

Bytes random_bytes(std::size_t count) {
    std::mt19937 random(9);
    Bytes bytes(count);
    for (auto& byte : bytes) { byte = static_cast<std::byte>(random()); }
    return bytes;
}

CopyBlock piece(std::uint64_t source, std::uint64_t target, std::uint64_t bytes) {
    CopyBlock block;
    block.source = source;
    block.target = target;
    block.run_bytes = bytes;
    return block;
}

/// Hands out parts of memory as files do; ranges at @p bad_begin cannot be read.
class MemoryReader final : public InlineReader {
   public:
    explicit MemoryReader(Bytes const& file, std::uint64_t bad_begin = ~std::uint64_t{0})
        : file_(file), bad_begin_(bad_begin) {}

    bool fills_room() const noexcept override { return true; }

    std::span<std::byte const> read(FileRange const& range, std::span<std::byte> room) override {
        if (range.begin == bad_begin_) { throw Error(Errc::io, "cannot read"); }
        std::memcpy(room.data(), file_.data() + range.begin, range.size_bytes);
        return room.first(range.size_bytes);
    }
    void release(std::span<std::byte const>, std::uint64_t) noexcept override {}
    ReadCounters counters() const noexcept override { return {}; }

   private:
    Bytes const& file_;
    std::uint64_t bad_begin_;
};

/// Fills stretches out of memory, and counts.
class ScatteringReader final : public InlineReader {
   public:
    explicit ScatteringReader(Bytes const& file) : file_(file) {}

    bool fills_room() const noexcept override { return true; }
    std::span<std::byte const> read(FileRange const&, std::span<std::byte>) override {
        throw Error(Errc::io, "nothing is to be read into room");
    }
    void scatter(FileRange const& range, std::span<std::span<std::byte> const> into) override {
        auto at = range.begin;
        for (auto const& stretch : into) {
            std::memcpy(stretch.data(), file_.data() + at, stretch.size());
            at += stretch.size();
        }
        EXPECT_EQ(at, range.end());
        ++calls;
        bytes += range.size_bytes;
    }
    void release(std::span<std::byte const>, std::uint64_t) noexcept override {}
    ReadCounters counters() const noexcept override { return {}; }

    std::uint64_t calls = 0;
    std::uint64_t bytes = 0;

   private:
    Bytes const& file_;
};

/// Jobs that came back, by id.
std::map<std::uint64_t, PlaceDone> poll_all(Lanes& lanes) {
    std::map<std::uint64_t, PlaceDone> finished;
    std::vector<PlaceDone> done;
    while (lanes.under_way() > 0) {
        lanes.poll(done);
        for (auto& job : done) {
            EXPECT_TRUE(finished.emplace(job.id, std::move(job)).second) << "a job came back twice";
        }
        done.clear();
    }
    return finished;
}

struct Store {
    Bytes memory = Bytes(kJobs * kPiece);
    std::vector<std::span<std::byte>> spans = {std::span<std::byte>(memory)};
};

TEST(Lanes, AnyNumberOfThreadsDoesEveryJobOnce) {
    auto const source = random_bytes(kJobs * kPiece);
    for (std::size_t const threads : {1U, 2U, 4U, 9U}) {
        Store store;
        std::vector<CopyBlock> blocks;
        for (std::size_t i = 0; i < kJobs; ++i) { blocks.push_back(piece(0, i * kPiece, kPiece)); }
        Lanes lanes(threads, store.spans, 4096);
        EXPECT_EQ(lanes.threads(), threads);
        for (std::size_t i = 0; i < kJobs; ++i) {
            lanes.submit({.id = i,
                          .blocks = std::span(blocks).subspan(i, 1),
                          .source = std::span(source).subspan(i * kPiece, kPiece),
                          .is_packed = i % 2 == 1});
        }
        EXPECT_EQ(poll_all(lanes).size(), kJobs);
        EXPECT_EQ(store.memory, source) << threads << " threads";
    }
}

TEST(Lanes, ReadWhatLiesInMemoryAndPutItInPlace) {
    auto const file = random_bytes(kJobs * kPiece);
    for (std::size_t const threads : {1U, 4U}) {
        Store store;
        MemoryReader reader(file);
        // Every other job puts the two halves of what it reads the other way round, which cannot be read into place.
        std::vector<CopyBlock> blocks;
        auto expected = file;
        for (std::size_t i = 0; i < kJobs; ++i) {
            auto const swap = i % 2 == 0 ? kPiece / 2 : 0;
            blocks.push_back(piece(0, i * kPiece + swap, kPiece / 2));
            blocks.push_back(piece(kPiece / 2, i * kPiece + kPiece / 2 - swap, kPiece / 2));
            auto const begin = expected.begin() + static_cast<std::ptrdiff_t>(i * kPiece);
            if (swap > 0) { std::rotate(begin, begin + kPiece / 2, begin + kPiece); }
        }
        Lanes lanes(threads, store.spans, kPiece);
        for (std::size_t i = 0; i < kJobs; ++i) {
            lanes.submit({.id = i,
                          .blocks = std::span(blocks).subspan(2 * i, 2),
                          .reader = &reader,
                          .range = {0, i * kPiece, kPiece}});
        }
        for (auto const& [id, job] : poll_all(lanes)) { EXPECT_FALSE(job.error.has_value()); }
        EXPECT_EQ(store.memory, expected);
        EXPECT_GT(lanes.staging_bytes(), 0U);
        EXPECT_LE(lanes.staging_bytes(), threads * kPiece);
    }
}

TEST(Lanes, RunsAreReadIntoPlaceWithoutRoom) {
    auto const file = random_bytes(10 + 3 * kPiece);
    Store store;
    MemoryReader reader(file);
    std::vector<CopyBlock> blocks = {piece(10, 7, 8), piece(10 + 2 * kPiece, 500, 1)};
    blocks[0].loops = {{2, kPiece, 100}};
    auto expected = store.memory;
    for (auto const& [source, target, bytes] : {std::array{10UL, 7UL, 8UL},
                                                std::array{10 + kPiece, 107UL, 8UL},
                                                std::array{10 + 2 * kPiece, 500UL, 1UL}}) {
        std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(source), bytes,
                    expected.begin() + static_cast<std::ptrdiff_t>(target));
    }
    Lanes lanes(2, store.spans, kPiece);
    auto const skipped = 10UL;
    for (auto& block : blocks) { block.source -= skipped; }
    lanes.submit(
        {.id = 1, .blocks = blocks, .reader = &reader, .range = {0, skipped, 3 * kPiece}, .is_scattered = true});
    EXPECT_EQ(poll_all(lanes).size(), 1U);
    EXPECT_EQ(store.memory, expected);
    EXPECT_EQ(lanes.staging_bytes(), 0U);
}

TEST(Lanes, RunsCloseTogetherComeByOneCallThatPassesOverWhatLiesBetween) {
    // Five runs 8 KiB + 8 B apart: a gap that is passed over; four further apart: a call each; nested ones, both.
    auto const file = random_bytes(10 * 100'000);
    std::vector<std::byte> memory(50 * 8);
    std::vector<std::span<std::byte>> const tensors = {memory};
    std::vector<CopyBlock> blocks = {piece(0, 0, 8), piece(100'000, 40, 8), piece(200'000, 80, 8)};
    blocks[0].loops = {{5, 8200, 8}};
    blocks[1].loops = {{4, 8201, 8}};
    blocks[2].loops = {{3, 100'000, 24}, {3, 16, 8}};
    std::vector<std::byte> expected(memory.size());
    auto const put = [&](std::size_t source, std::size_t target) {
        std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(source), 8,
                    expected.begin() + static_cast<std::ptrdiff_t>(target));
    };
    for (std::size_t i = 0; i < 5; ++i) { put(i * 8200, 8 * i); }
    for (std::size_t i = 0; i < 4; ++i) { put(100'000 + i * 8201, 40 + 8 * i); }
    for (std::size_t i = 0; i < 9; ++i) { put(200'000 + i / 3 * 100'000 + i % 3 * 16, 80 + 8 * i); }
    ScatteringReader reader(file);
    Lanes lanes(1, tensors, kPiece);
    lanes.submit({.id = 1, .blocks = blocks, .reader = &reader, .range = {0, 0, file.size()}, .is_scattered = true});
    EXPECT_FALSE(poll_all(lanes).at(1).error.has_value());
    EXPECT_EQ(memory, expected);
    EXPECT_EQ(reader.calls, 1U + 4U + 3U);
    auto const counted = scattered(blocks);
    EXPECT_EQ(counted.calls, reader.calls);
    EXPECT_EQ(counted.read_bytes, reader.bytes);
    EXPECT_EQ(counted.used_bytes, 8U * 18U);
}

TEST(Lanes, AJobThatFailsComesBackWithItsErrorAndTheOthersAreDone) {
    auto const file = random_bytes(kJobs * kPiece);
    for (std::size_t const threads : {1U, 4U}) {
        Store store;
        MemoryReader reader(file, 17 * kPiece);
        std::vector<CopyBlock> blocks;
        for (std::size_t i = 0; i < kJobs; ++i) { blocks.push_back(piece(0, i * kPiece, kPiece)); }
        Lanes lanes(threads, store.spans, kPiece);
        for (std::size_t i = 0; i < kJobs; ++i) {
            lanes.submit({.id = i,
                          .blocks = std::span(blocks).subspan(i, 1),
                          .reader = &reader,
                          .range = {0, i * kPiece, kPiece}});
        }
        for (auto const& [id, job] : poll_all(lanes)) { EXPECT_EQ(job.error.has_value(), id == 17); }
        EXPECT_TRUE(std::equal(file.begin() + 18 * kPiece, file.end(), store.memory.begin() + 18 * kPiece));
    }
}

TEST(Lanes, CanBeDroppedWithJobsInTheQueue) {
    auto const source = random_bytes(kPiece);
    for (int i = 0; i < 50; ++i) {
        Store store;
        std::vector<CopyBlock> blocks;
        for (std::size_t k = 0; k < 20; ++k) { blocks.push_back(piece(0, k * kPiece, kPiece)); }
        Lanes lanes(4, store.spans, kPiece);
        for (std::size_t k = 0; k < blocks.size(); ++k) {
            lanes.submit({.id = k, .blocks = std::span(blocks).subspan(k, 1), .source = source});
        }
    }
}

/// A thread that has just found nothing to do when it is told to stop must not sleep through it.
TEST(Lanes, EndHoweverOftenTheyAreDroppedAfterTheirLastJob) {
    auto const source = random_bytes(kPiece);
    std::vector<CopyBlock> const blocks = {piece(0, 0, kPiece), piece(0, kPiece, kPiece)};
    Store store;
    for (int i = 0; i < 20'000; ++i) {
        Lanes lanes(3, store.spans, kPiece);
        lanes.submit({.id = 0, .blocks = std::span(blocks).first(1), .source = source});
        lanes.submit({.id = 1, .blocks = std::span(blocks).last(1), .source = source});
        lanes.drain();
    }
}

}  // namespace
}  // namespace shardwise::test
