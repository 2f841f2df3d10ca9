// Every reader gives the bytes of the file, whatever range is asked for, and says what is wrong when it cannot.
#include "io/reader.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <random>

#include <gmock/gmock.h>
#include <unistd.h>

#include "io/reader_set.hpp"
#include "support/error_of.hpp"
#include "support/page_buffer.hpp"
#include "support/read_all.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

struct ReaderCase {
    char const* name;
    ReaderKind kind;
    bool is_direct;
    char const* parent;  ///< folder for the files: a disk, or memory
};

void PrintTo(ReaderCase const& test_case, std::ostream* out) { *out << test_case.name; }

std::string pattern(std::uint64_t size, unsigned seed) {
    std::string bytes(size, '\0');
    std::mt19937 random(seed);
    for (auto& byte : bytes) { byte = static_cast<char>(random()); }
    return bytes;
}

class ReaderTest : public testing::TestWithParam<ReaderCase> {
   protected:
    void SetUp() override {
        auto const& parent = GetParam().parent;
        if (!std::filesystem::is_directory(parent)) { GTEST_SKIP() << "there is no folder " << parent; }
        auto const obstacle = GetParam().kind == ReaderKind::uring ? uring_obstacle() : std::string();
        if (!obstacle.empty()) { GTEST_SKIP() << obstacle; }
        folder_.emplace(parent);
    }

    void add_file(std::string const& content) {
        auto const name = "file-" + std::to_string(files_.size());
        files_.push_back({folder_->write(name, content), content.size(), 0});
        contents_.push_back(content);
    }

    ReaderSet make_set() const {
        std::vector<FileReader> const choices(files_.size(), {GetParam().kind, GetParam().is_direct, "test"});
        return {files_, choices, {8, 2}};
    }

    /// Reads all of @p ranges, as many at a time as there is room for, and returns the results by position.
    static std::vector<ReadResult> read_all(ReaderSet& set, std::vector<FileRange> const& ranges,
                                            std::vector<PageBuffer> const& buffers) {
        std::vector<ReadResult> by_position(ranges.size());
        std::vector<ReadResult> results;
        std::size_t submitted = 0;
        for (std::size_t finished = 0; finished < ranges.size();) {
            while (submitted < ranges.size() && set.has_room(ranges[submitted].file)) {
                set.submit({submitted, ranges[submitted], buffers[submitted].room()});
                ++submitted;
            }
            set.start();
            set.poll(results, Wait::briefly);
            for (auto& result : results) { by_position.at(result.id) = std::move(result); }
            finished += results.size();
            results.clear();
        }
        return by_position;
    }

    static std::vector<ReadResult> read_all(ReaderSet& set, std::vector<FileRange> const& ranges) {
        return read_all(set, ranges, buffers_for(ranges));
    }

    static std::vector<PageBuffer> buffers_for(std::vector<FileRange> const& ranges) {
        std::vector<PageBuffer> buffers;
        for (auto const& range : ranges) { buffers.emplace_back(range); }
        return buffers;
    }

    std::optional<ScratchFolder> folder_;
    std::vector<FileRecord> files_;
    std::vector<std::string> contents_;
};

std::vector<FileRange> interesting_ranges(std::vector<FileRecord> const& files) {
    std::mt19937 random(20261122);
    std::vector<FileRange> ranges;
    for (std::uint32_t file = 0; file < files.size(); ++file) {
        auto const size = files[file].size_bytes;
        ranges.insert(ranges.end(),
                      {{file, 0, size}, {file, 0, 1}, {file, size - 1, 1}, {file, size, 0}, {file, size / 2, 0}});
        for (int i = 0; i < 100; ++i) {
            auto const begin = std::uniform_int_distribution<std::uint64_t>(0, size)(random);
            auto const most = std::min<std::uint64_t>(size - begin, i % 4 == 0 ? size : 10000);
            ranges.push_back({file, begin, std::uniform_int_distribution<std::uint64_t>(0, most)(random)});
        }
    }
    std::shuffle(ranges.begin(), ranges.end(), random);
    return ranges;
}

TEST_P(ReaderTest, AnyRangeGivesTheBytesOfTheFile) {
    for (std::uint64_t const size : {1U, 4095U, 4096U, 4097U, 300001U}) {
        add_file(pattern(size, static_cast<unsigned>(size)));
    }
    auto set = make_set();
    auto const ranges = interesting_ranges(files_);
    auto const buffers = buffers_for(ranges);
    auto const results = read_all(set, ranges, buffers);
    std::uint64_t needed = 0;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        auto const& [file, begin, size] = ranges[i];
        ASSERT_FALSE(results[i].error) << results[i].error->what();
        std::string_view const got(reinterpret_cast<char const*>(results[i].data.data()), results[i].data.size());
        EXPECT_EQ(got, std::string_view(contents_[file]).substr(begin, size)) << "file " << file << " at " << begin;
        EXPECT_EQ(results[i].data.data() - buffers[i].room().data(), begin % kSlotAlignment);
        EXPECT_TRUE(buffers[i].is_intact());
        needed += size;
    }
    auto const counters = set.counters()[static_cast<std::size_t>(GetParam().kind)];
    EXPECT_GE(counters.bytes, needed);
    EXPECT_LE(counters.bytes, needed + ranges.size() * 2 * kSlotAlignment)
        << "over-read is at most the pages at both ends";
}

TEST_P(ReaderTest, PagesWithAPlaceOfTheirOwnLandThere) {
    if (GetParam().kind == ReaderKind::cached || GetParam().kind == ReaderKind::mmap) {
        GTEST_SKIP() << "it reads on the caller's thread";
    }
    constexpr std::uint64_t kPages = 40;
    add_file(pattern(kPages * kSlotAlignment + 100, 3));
    auto set = make_set();
    FileRange const range = {0, 700, kPages * kSlotAlignment - 800};
    PageBuffer const buffer(range);
    PageBuffer const place({0, 0, 36 * kSlotAlignment});
    // 8 is what an NVMe disk can do and others refuse: then the page cache must bring it to the same place.
    for (std::uint64_t const shift : {std::uint64_t{0}, std::uint64_t{512}, std::uint64_t{8}}) {
        auto const first = place.room().subspan(shift, 20 * kSlotAlignment);
        auto const second = place.room().subspan(shift + 20 * kSlotAlignment, 15 * kSlotAlignment);
        std::vector<Landing> const landings = {{kSlotAlignment, first}, {22 * kSlotAlignment, second}};
        set.submit({.id = 1, .range = range, .into = buffer.room(), .landings = landings});
        std::vector<ReadResult> results;
        while (results.empty()) { set.poll(results, Wait::briefly); }
        ASSERT_FALSE(results[0].error) << results[0].error->what();
        std::string_view const content = contents_[0];
        EXPECT_EQ(text_of(first), content.substr(kSlotAlignment, first.size())) << shift;
        EXPECT_EQ(text_of(second), content.substr(22 * kSlotAlignment, second.size())) << shift;
        auto const data = results[0].data;
        EXPECT_EQ(text_of(data.first(kSlotAlignment - 700)), content.substr(700, kSlotAlignment - 700));
        EXPECT_EQ(text_of(data.subspan(21 * kSlotAlignment - 700, kSlotAlignment)),
                  content.substr(21 * kSlotAlignment, kSlotAlignment));
        EXPECT_EQ(text_of(data.subspan(37 * kSlotAlignment - 700)),
                  content.substr(37 * kSlotAlignment, 3 * kSlotAlignment - 100));
        EXPECT_TRUE(buffer.is_intact());
    }
}

TEST_P(ReaderTest, AFileThatWasCutAfterItWasOpenedIsAnErrorThatSaysWhere) {
    constexpr std::uint64_t kSize = 64 * 4096;
    // The last cut leaves the page there: its rest must not be taken for zeros that were stored.
    for (std::uint64_t const left : {std::uint64_t{0}, std::uint64_t{10000}, kSize / 2, kSize - 1}) {
        files_.clear();
        add_file(pattern(kSize, 5));
        auto set = make_set();
        ASSERT_FALSE(read_all(set, {{0, 0, 100}}).at(0).error);
        ASSERT_EQ(::truncate(files_[0].path.c_str(), static_cast<off_t>(left)), 0);
        FileRange const range = {0, kSize - 300, 300};
        auto const result = read_all(set, {range}).at(0);
        EXPECT_THAT(result.error, IsError(Errc::input, files_[0].path)) << "cut to " << left;
        ASSERT_TRUE(result.error);
        // A direct read says the page, one that came back short the place where it stopped.
        EXPECT_THAT(result.error->what(), testing::ContainsRegex(" at 2[56][0-9]{4} for [0-9]+ B: the file "));
    }
}

TEST_P(ReaderTest, OneBadFileDoesNotSpoilTheOthers) {
    add_file(pattern(50000, 1));
    add_file(pattern(50000, 2));
    files_.push_back({*folder_ / "absent", 50000, 0});
    ASSERT_EQ(::truncate(files_[1].path.c_str(), 40000), 0);
    auto set = make_set();
    auto const results = read_all(set, {{1, 0, 50000}, {0, 0, 50000}, {2, 0, 50000}, {0, 1, 49999}});
    EXPECT_THAT(results[0].error, IsError(Errc::input, "has 40000 B now, its header was read when it had 50000"));
    EXPECT_THAT(results[2].error, IsError(Errc::io, "absent: No such file"));
    EXPECT_FALSE(results[1].error);
    EXPECT_FALSE(results[3].error);
}

// Threads that find the file missing at the same time all say so, and it is found once it is there.
TEST_P(ReaderTest, EveryRangeOfAMissingFileIsAnErrorUntilItIsThere) {
    files_.push_back({*folder_ / "late", 50000, 0});
    auto set = make_set();
    std::vector<FileRange> const ranges(16, {0, 0, 50000});
    for (auto const& result : read_all(set, ranges)) { EXPECT_THAT(result.error, IsError(Errc::io, "No such file")); }
    folder_->write("late", pattern(50000, 1));
    for (auto const& result : read_all(set, ranges)) { EXPECT_FALSE(result.error) << result.error->what(); }
}

// The kernel or a thread may still write into the callers' memory.
TEST_P(ReaderTest, ASetThatGoesAwayWithRequestsUnderWayWaitsForThem) {
    add_file(pattern(1 << 20, 9));
    std::vector<FileRange> const ranges(8, {0, 0, 1 << 20});
    auto const buffers = buffers_for(ranges);
    {
        auto set = make_set();
        for (std::size_t i = 0; i < ranges.size() && set.has_room(0); ++i) {
            set.submit({i, ranges[i], buffers[i].room()});
        }
        set.start();
    }
    std::vector<std::string> before;
    for (auto const& buffer : buffers) {
        before.emplace_back(reinterpret_cast<char const*>(buffer.room().data()), buffer.room().size());
    }
    ::usleep(20000);
    for (std::size_t i = 0; i < buffers.size(); ++i) {
        EXPECT_EQ(std::memcmp(buffers[i].room().data(), before[i].data(), before[i].size()), 0)
            << "written to afterwards";
    }
}

INSTANTIATE_TEST_SUITE_P(, ReaderTest,
                         testing::Values(ReaderCase{"cached", ReaderKind::cached, false, "/tmp"},
                                         ReaderCase{"mmap", ReaderKind::mmap, false, "/tmp"},
                                         ReaderCase{"uring", ReaderKind::uring, false, "/tmp"},
                                         ReaderCase{"uring_direct", ReaderKind::uring, true, "/tmp"},
                                         ReaderCase{"pread", ReaderKind::pread, false, "/tmp"},
                                         ReaderCase{"pread_direct", ReaderKind::pread, true, "/tmp"},
                                         ReaderCase{"cached_memory", ReaderKind::cached, false, "/dev/shm"},
                                         ReaderCase{"mmap_memory", ReaderKind::mmap, false, "/dev/shm"},
                                         ReaderCase{"uring_direct_memory", ReaderKind::uring, true, "/dev/shm"},
                                         ReaderCase{"pread_direct_memory", ReaderKind::pread, true, "/dev/shm"}),
                         [](auto const& info) { return info.param.name; });

/// A thread that has just found nothing to do when it is told to stop must not sleep through it.
TEST(PreadReader, EndsHoweverOftenItIsDroppedAfterItsLastRead) {
    ScratchFolder const folder;
    std::vector<FileRecord> const files = {{folder.write("file", std::string(64, 'x')), 64, 0}};
    std::vector<std::byte> into(64);
    for (int i = 0; i < 5'000; ++i) {
        auto const reader = make_pread_reader(files, {false}, 2);
        reader->submit({0, {0, 0, 64}, into});
        std::vector<ReadResult> results;
        while (results.empty()) { reader->poll(results, Wait::briefly); }
        ASSERT_FALSE(results.front().error);
    }
}

/// Fills @p count stretches of 1 to 9 bytes, one after the other, from byte @p begin on, and compares.
void expect_scattered(InlineReader& reader, std::string const& content, std::uint64_t begin, std::size_t count) {
    std::string filled(count * 10, '-');
    auto expected = filled;
    std::vector<std::span<std::byte>> into;
    auto at = begin;
    for (std::size_t i = 0; i < count; ++i) {
        auto const size = 1 + i % 9;
        into.push_back(std::as_writable_bytes(std::span(filled).subspan(i * 10, size)));
        expected.replace(i * 10, size, content, at, size);
        at += size;
    }
    reader.scatter({0, begin, at - begin}, into);
    EXPECT_EQ(filled, expected) << count << " stretches";
}

TEST(CachedReader, ScattersARangeOverAnyNumberOfStretches) {
    ScratchFolder const folder;
    auto const content = pattern(40000, 8);
    std::vector<FileRecord> const files = {{folder.write("file", content), content.size(), 0}};
    auto const reader = make_cached_reader(files);
    std::uint64_t bytes = 0;
    for (std::size_t const count : {1U, 2U, 1023U, 1024U, 1025U, 5000U}) {
        expect_scattered(*reader, content, 3 + count, count);
        for (std::size_t i = 0; i < count; ++i) { bytes += 1 + i % 9; }
    }
    EXPECT_EQ(reader->counters().requests, 6U) << "one for each range";
    EXPECT_EQ(reader->counters().bytes, bytes);
}

TEST(CachedReader, SaysThatAFileWasCutWhileItIsScattered) {
    ScratchFolder const folder;
    std::vector<FileRecord> const files = {{folder.write("file", pattern(40000, 8)), 40000, 0}};
    auto const reader = make_cached_reader(files);
    ASSERT_EQ(::truncate(files[0].path.c_str(), 30000), 0);
    std::vector<std::byte> memory(40000);
    std::vector<std::span<std::byte>> into;
    for (std::size_t i = 0; i < 400; ++i) { into.push_back(std::span(memory).subspan(100 * i, 100)); }
    auto const error = error_of([&] { reader->scatter({0, 0, 40000}, into); });
    EXPECT_THAT(error, IsError(Errc::input, "has 30000 B now, its header was read when it had 40000"));
}

TEST(ReaderSet, FilesOfDifferentReadersAreReadTogetherAndCountedApart) {
    ScratchFolder const folder;
    std::vector<FileRecord> files;
    std::vector<FileReader> const choices = {
        {ReaderKind::cached, false, ""}, {ReaderKind::pread, false, ""}, {ReaderKind::mmap, false, ""}};
    auto const content = pattern(10000, 4);
    for (auto const* name : {"a", "b", "c"}) { files.push_back({folder.write(name, content), 10000, 0}); }
    ReaderSet set(files, choices, {});
    std::vector<PageBuffer> buffers;
    for (std::uint32_t file = 0; file < 3; ++file) {
        FileRange const range = {file, 5000, 1000U * (file + 1)};
        set.submit({file, range, buffers.emplace_back(range).room()});
    }
    std::vector<ReadResult> results;
    while (results.size() < 3) { set.poll(results, Wait::briefly); }
    for (auto const& result : results) {
        EXPECT_EQ(std::string_view(reinterpret_cast<char const*>(result.data.data()), result.data.size()),
                  std::string_view(content).substr(5000, 1000 * (result.id + 1)));
    }
    auto const counters = set.counters();
    EXPECT_EQ(counters[static_cast<std::size_t>(ReaderKind::cached)].bytes, 1000U);
    EXPECT_EQ(counters[static_cast<std::size_t>(ReaderKind::pread)].bytes, 2000U);
    EXPECT_EQ(counters[static_cast<std::size_t>(ReaderKind::mmap)].bytes, 3000U);
    EXPECT_EQ(counters[static_cast<std::size_t>(ReaderKind::uring)].requests, 0U);
}

}  // namespace
}  // namespace shardwise::test
