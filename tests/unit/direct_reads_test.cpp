// Reads that a rank does for itself, collected at once and in parts.
#include "plan/direct_reads.hpp"

#include <random>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

namespace shardwise::test {
namespace {

using ::testing::SizeIs;

TensorRecord tensor(std::uint32_t file, std::uint64_t begin, std::uint64_t size_bytes) {
    TensorRecord record;
    record.file = file;
    record.begin = begin;
    record.size_bytes = size_bytes;
    return record;
}

/// All of a tensor as one run.
std::vector<CopyBlock> all_of(TensorRecord const& stored) {
    CopyBlock block;
    block.run_bytes = stored.size_bytes;
    return {block};
}

TEST(DirectReads, GoOnOverNeighboursOfAFileUntilATensorOfAnotherOneComes) {
    auto const first = tensor(0, 100, 50);
    auto const second = tensor(0, 150, 50);
    auto const third = tensor(0, 200, 50);
    auto const elsewhere = tensor(1, 0, 50);
    DirectReads direct({});
    direct.add(first, all_of(first));
    direct.add(second, all_of(second));
    direct.add(elsewhere, std::span<CopyBlock const>());
    direct.add(third, all_of(third));
    ASSERT_THAT(direct.reads, SizeIs(2));
    EXPECT_EQ(direct.reads[0].range, (FileRange{0, 100, 100}));
    EXPECT_EQ(direct.reads[1].range, (FileRange{0, 200, 50}));
    EXPECT_THAT(direct.blocks, SizeIs(3));
}

TEST(DirectReads, AreTheSameCollectedInPartsBetweenFiles) {
    std::mt19937 random(11);
    for (int round = 0; round < 200; ++round) {
        std::vector<std::uint64_t> ends(3, 1000);
        DirectReads together({});
        DirectReads in_parts({});
        DirectReads part({});
        std::uint32_t last_file = 0;
        for (int i = 0; i < 60; ++i) {
            auto const file = random() % 3 == 0 ? static_cast<std::uint32_t>(random() % 3) : last_file;
            auto const stored = tensor(file, ends[file], 64 * (1 + random() % 100'000));
            ends[file] += stored.size_bytes;
            auto const needed = random() % 4 == 0 ? std::vector<CopyBlock>() : all_of(stored);
            if (file != last_file && random() % 2 == 0) { in_parts.append(std::exchange(part, DirectReads({}))); }
            together.add(stored, needed);
            part.add(stored, needed);
            last_file = file;
        }
        in_parts.append(std::move(part));
        EXPECT_EQ(in_parts.blocks, together.blocks);
        ASSERT_EQ(in_parts.reads.size(), together.reads.size());
        for (std::size_t i = 0; i < together.reads.size(); ++i) {
            EXPECT_EQ(in_parts.reads[i].range, together.reads[i].range);
            EXPECT_EQ(in_parts.reads[i].blocks.first, together.reads[i].blocks.first);
            EXPECT_EQ(in_parts.reads[i].blocks.count, together.reads[i].blocks.count);
        }
    }
}

}  // namespace
}  // namespace shardwise::test
