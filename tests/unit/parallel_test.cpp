// Work in pieces: that all of it is done, once, and what becomes of errors.
#include "util/parallel.hpp"

#include <atomic>
#include <numeric>
#include <random>
#include <stdexcept>

#include <gmock/gmock.h>

#include "support/one_hardware_thread.hpp"
#include "util/permute.hpp"

namespace shardwise::test {
namespace {

TEST(Parallel, PartsFollowEachOtherAndAreLongEnough) {
    for (std::size_t const count : {0U, 1U, 9U, 10U, 19U, 20U, 1000U}) {
        auto const parts = parts_for_threads(count, 10);
        EXPECT_EQ(parts.empty(), count == 0);
        EXPECT_LE(parts.size(), own_hardware_threads());
        std::size_t next = 0;
        for (auto const& part : parts) {
            EXPECT_EQ(part.begin, next);
            EXPECT_TRUE(parts.size() == 1 || part.size() >= 10) << count;
            next = part.end;
        }
        EXPECT_EQ(next, count);
    }
}

TEST(Parallel, AThreadThatIsBoundDoesAllByItself) {
    OneHardwareThread const bound;
    EXPECT_EQ(own_hardware_threads(), 1U);
    EXPECT_EQ(parts_for_threads(1000, 1).size(), 1U);
}

TEST(Parallel, EveryPieceIsDoneOnce) {
    std::vector<std::atomic<int>> times(1000);
    for_each_in_parallel(times.size(), 4, [&](std::size_t i) { ++times[i]; });
    for (auto const& done : times) { EXPECT_EQ(done, 1); }
    for_each_in_parallel(0, 4, [](std::size_t) { FAIL() << "nothing is to be done"; });
    for (std::size_t const files : {1U, 3U, 17U, 200U}) {
        std::vector<std::atomic<int>> looks(files);
        for_each_file(files, [&](std::size_t file) { ++looks[file]; });
        for (auto const& done : looks) { EXPECT_EQ(done, 1) << files; }
    }
}

TEST(Parallel, TheFirstPiecesErrorIsTheOneThrownAndTheRestIsDone) {
    std::atomic<int> done = 0;
    try {
        for_each_in_parallel(100, 4, [&](std::size_t i) {
            if (i == 40 || i == 7) { throw std::runtime_error(std::to_string(i)); }
            ++done;
        });
        FAIL() << "no error came through";
    } catch (std::runtime_error const& error) { EXPECT_STREQ(error.what(), "7"); }
    EXPECT_EQ(done, 98);
}

TEST(Parallel, SortedPartsOfAnyNumberAreMerged) {
    std::mt19937 random(11);
    for (std::size_t count = 1; count <= 9; ++count) {
        std::vector<IndexRange> parts;
        std::vector<unsigned> numbers;
        for (std::size_t i = 0; i < count; ++i) {
            auto const begin = numbers.size();
            for (auto left = random() % 50; left > 0; --left) { numbers.push_back(random() % 100); }
            std::sort(numbers.begin() + static_cast<std::ptrdiff_t>(begin), numbers.end());
            parts.push_back({begin, numbers.size()});
        }
        auto sorted = numbers;
        std::sort(sorted.begin(), sorted.end());
        merge_in_parallel(numbers.begin(), parts, std::less<>());
        EXPECT_EQ(numbers, sorted) << count;
    }
}

TEST(Permute, EveryItemComesToThePlaceThatAsksForIt) {
    std::mt19937 random(13);
    for (std::uint32_t size = 0; size < 40; ++size) {
        std::vector<std::uint32_t> from(size);
        std::iota(from.begin(), from.end(), 0U);
        std::shuffle(from.begin(), from.end(), random);
        std::vector<std::string> items;
        std::vector<std::string> expected;
        for (std::uint32_t i = 0; i < size; ++i) {
            items.push_back(std::to_string(i));
            expected.push_back(std::to_string(from[i]));
        }
        permute(items, from);
        EXPECT_EQ(items, expected);
    }
}

}  // namespace
}  // namespace shardwise::test
