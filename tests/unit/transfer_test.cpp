// What becomes of one range over several read calls, with the calls' outcomes made up.
#include "io/transfer.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include <gmock/gmock.h>

#include "support/error_of.hpp"
#include "support/page_buffer.hpp"
#include "support/scratch_folder.hpp"
#include "util/checked.hpp"

namespace shardwise::test {
namespace {

std::string pattern(std::uint64_t size) {
    std::string bytes(size, '\0');
    std::mt19937 random(3);
    for (auto& byte : bytes) { byte = static_cast<char>(random()); }
    return bytes;
}

class TransferTest : public testing::Test {
   protected:
    static constexpr std::uint64_t kSize = 5 * kSlotAlignment + 1234;

    ScratchFolder folder_;
    std::string content_ = pattern(kSize);
    FileAccess access_{{folder_.write("data", content_), kSize, 0}, false};

    /// Puts @p count bytes where the next read wants them, as a read call would.
    std::int64_t deliver(Transfer const& transfer, std::uint64_t count) const {
        auto const from = std::min(transfer.offset(), kSize);
        auto const bytes = std::min({count, transfer.size_bytes(), kSize - from});
        auto left = bytes;
        for (auto const& target : transfer.targets()) {
            auto const part = std::min<std::uint64_t>(left, target.iov_len);
            std::memcpy(target.iov_base, content_.data() + from + (bytes - left), part);
            left -= part;
        }
        return static_cast<std::int64_t>(bytes);
    }
};

TEST_F(TransferTest, DirectReadsCoverWholePagesAndBufferedOnesTheRange) {
    FileRange const range = {0, 5000, 3000};
    PageBuffer const buffer(range);
    Transfer const direct(range, buffer.room(), true);
    EXPECT_EQ(direct.offset(), 4096U);
    EXPECT_EQ(direct.target().data(), buffer.room().data());
    EXPECT_EQ(direct.target().size(), 4096U);
    Transfer const buffered(range, buffer.room(), false);
    EXPECT_EQ(buffered.offset(), 5000U);
    EXPECT_EQ(buffered.target().data(), buffer.room().data() + 904);
    EXPECT_EQ(buffered.target().size(), 3000U);
}

TEST_F(TransferTest, AShortReadGoesOnWhereItStopped) {
    FileRange const range = {0, 100, 9000};
    PageBuffer const buffer(range);
    Transfer buffered(range, buffer.room(), false);
    EXPECT_EQ(take_outcome(access_, buffered, 4000), NextStep::again);
    EXPECT_EQ(buffered.offset(), 4100U);
    Transfer direct(range, buffer.room(), true);
    EXPECT_EQ(take_outcome(access_, direct, 5000), NextStep::again);
    EXPECT_EQ(direct.offset(), 4096U) << "direct reads begin on pages";
    EXPECT_TRUE(direct.is_direct());
}

TEST_F(TransferTest, InterruptionsAreRetried) {
    FileRange const range = {0, 100, 9000};
    PageBuffer const buffer(range);
    for (int const interruption : {EINTR, EAGAIN}) {
        Transfer transfer(range, buffer.room(), false);
        EXPECT_EQ(take_outcome(access_, transfer, -interruption), NextStep::again);
        EXPECT_EQ(transfer.offset(), 100U);
        EXPECT_EQ(transfer.target().size(), 9000U);
    }
}

TEST_F(TransferTest, DirectReadsThatTheFileSystemRefusesAreDoneBuffered) {
    FileRange const range = {0, 5000, 9000};
    PageBuffer const buffer(range);
    for (int const refusal : {EINVAL, EOPNOTSUPP}) {
        Transfer transfer(range, buffer.room(), true);
        EXPECT_EQ(take_outcome(access_, transfer, -refusal), NextStep::fall_back);
        EXPECT_FALSE(transfer.is_direct());
        EXPECT_EQ(transfer.offset(), 5000U);
    }
}

// A file system that hands out less than a page would make a direct read begin at the same page for ever.
TEST_F(TransferTest, DirectReadsThatMakeNoProgressAreDoneBuffered) {
    FileRange const range = {0, 4096, 8192};
    PageBuffer const buffer(range);
    Transfer transfer(range, buffer.room(), true);
    EXPECT_EQ(take_outcome(access_, transfer, 4000), NextStep::fall_back);
    EXPECT_FALSE(transfer.is_direct());
}

TEST_F(TransferTest, ErrorsNameFileOffsetAndSize) {
    FileRange const range = {0, 100, 9000};
    PageBuffer const buffer(range);
    auto const where = "read " + access_.path() + " at 4100 for 5000 B: ";
    struct Case {
        std::int64_t outcome;
        Errc code;
        std::string message;
    };
    for (auto const& [outcome, code, message] : std::initializer_list<Case>{
             {-EIO, Errc::io, where + "Input/output error"},
             {-EINVAL, Errc::io, where + "Invalid argument"},
             {-ENOMEM, Errc::memory, where + "Cannot allocate memory"},
             {0, Errc::io, where + "nothing came, though the file has 21714 B"},
         }) {
        Transfer transfer(range, buffer.room(), false);
        take_outcome(access_, transfer, 4000);
        EXPECT_THAT(error_of([&, got = outcome] { take_outcome(access_, transfer, got); }), IsError(code, message));
    }
}

TEST_F(TransferTest, AnEmptyRangeIsDoneWhenNothingComes) {
    for (std::uint64_t const begin : {std::uint64_t{0}, std::uint64_t{5000}, kSize}) {
        FileRange const range = {0, begin, 0};
        PageBuffer const buffer(range);
        Transfer transfer(range, buffer.room(), false);
        EXPECT_EQ(take_outcome(access_, transfer, 0), NextStep::done) << begin;
        EXPECT_TRUE(transfer.data().empty());
    }
}

TEST_F(TransferTest, AnyMixOfShortReadsInterruptionsAndRefusalsGivesTheBytesOfTheRange) {
    std::mt19937 random(11);
    auto const pick = [&](std::uint64_t low, std::uint64_t high) {
        return std::uniform_int_distribution<std::uint64_t>(low, high)(random);
    };
    for (int i = 0; i < 3000; ++i) {
        auto const begin = pick(0, kSize - 1);
        FileRange const range = {0, begin, pick(1, kSize - begin)};
        PageBuffer const buffer(range);
        std::vector<std::byte> place(kSize);
        std::vector<Landing> landings;
        for (auto page = align_up(begin, kSlotAlignment); page + kSlotAlignment <= range.end();
             page += kSlotAlignment) {
            if (pick(0, 2) == 0) { landings.push_back({page, std::span(place).subspan(page, kSlotAlignment)}); }
        }
        Transfer transfer(range, buffer.room(), pick(0, 1) == 1, landings);
        auto step = NextStep::again;
        for (int calls = 0; step != NextStep::done; ++calls) {
            ASSERT_LT(calls, 10000) << "no end";
            auto const kind = pick(0, 9);
            std::int64_t outcome = deliver(transfer, pick(1, 2 * kSlotAlignment));
            if (kind == 0) { outcome = -EINTR; }
            if (kind == 1 && transfer.is_direct()) { outcome = -EINVAL; }
            step = take_outcome(access_, transfer, outcome);
        }
        auto const data = buffer.room().subspan(begin % kSlotAlignment, range.size_bytes);
        ASSERT_EQ(transfer.data().data(), data.data());
        for (auto const& [page, into] : landings) {
            std::memcpy(data.data() + (page - begin), into.data(), into.size());
        }
        ASSERT_EQ(std::string_view(reinterpret_cast<char const*>(data.data()), data.size()),
                  std::string_view(content_).substr(range.begin, range.size_bytes)) << "case " << i;
        ASSERT_TRUE(buffer.is_intact());
    }
}

TEST_F(TransferTest, PagesWithAPlaceOfTheirOwnLandThereAndTheRestInTheBuffer) {
    FileRange const range = {0, 5000, 15000};  // of pages 1 to 4
    PageBuffer const buffer(range);
    std::vector<std::byte> place(2 * kSlotAlignment);
    std::vector<Landing> const landings = {{2 * kSlotAlignment, std::span(place).first(kSlotAlignment)},
                                           {3 * kSlotAlignment, std::span(place).last(kSlotAlignment)}};
    Transfer transfer(range, buffer.room(), true, landings);
    ASSERT_EQ(transfer.targets().size(), 4U);
    EXPECT_EQ(transfer.targets()[1].iov_base, place.data());
    EXPECT_EQ(transfer.targets()[3].iov_base, buffer.room().data() + 3 * kSlotAlignment);
    EXPECT_EQ(transfer.size_bytes(), 4 * kSlotAlignment);
    EXPECT_EQ(take_outcome(access_, transfer, deliver(transfer, kSlotAlignment + 1)), NextStep::again);
    EXPECT_EQ(transfer.targets().size(), 3U) << "from the page that it stopped in";
    transfer.stop_direct();
    EXPECT_EQ(transfer.targets().size(), 3U);
    EXPECT_EQ(transfer.size_bytes(), range.end() - 2 * kSlotAlignment);
    EXPECT_EQ(take_outcome(access_, transfer, deliver(transfer, kSize)), NextStep::done);
    EXPECT_EQ(std::memcmp(place.data(), content_.data() + 2 * kSlotAlignment, place.size()), 0);
    EXPECT_EQ(std::memcmp(transfer.data().data(), content_.data() + range.begin, 2 * kSlotAlignment - range.begin), 0);
}

}  // namespace
}  // namespace shardwise::test
