// Ranges of files in the memory of a GPU, read through a stand-in for libcufile that knows the rules of the real one.
#include "io/gds_reader.hpp"

#include <cerrno>
#include <thread>

#include <sys/stat.h>

#include "io/reader_set.hpp"
#include "support/error_of.hpp"
#include "support/gds_test.hpp"
#include "support/read_all.hpp"

namespace shardwise::test {
namespace {

using testing::HasSubstr;

class GdsReaderTest : public GdsTest {
   protected:
    static constexpr std::uint64_t kStagingBytes = 16ULL << 20U;
    static constexpr std::byte kFresh{0xA5};  ///< what the emulated GPU's memory is full of

    std::unique_ptr<GdsReader> make_reader(GdsFallback fallback = GdsFallback::allowed, std::size_t threads = 3) {
        return make_gds_reader(files_, *accelerator_, staging(), {threads, fallback, &driver()});
    }

    std::span<Memory const> staging() {
        if (staging_.empty()) {
            staging_.push_back(accelerator_->allocate(kDevicePage));  // so that the right one has to be found
            staging_.push_back(accelerator_->allocate(kStagingBytes));
        }
        return staging_;
    }

    std::vector<std::span<std::byte>> rooms(std::span<FileRange const> ranges) {
        return pages_in(staging()[1].bytes(), ranges);
    }

    std::vector<ReadResult> read(Reader& reader, std::vector<FileRange> const& ranges) {
        auto const into = rooms(ranges);
        auto results = read_all(reader, ranges, into);
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            if (results[i].error) { continue; }
            auto const& [file, begin, size] = ranges[i];
            EXPECT_EQ(text_of(results[i].data), std::string_view(contents_[file]).substr(begin, size))
                << "file " << file << " at " << begin << " for " << size;
            EXPECT_EQ(results[i].data.data() - into[i].data(), static_cast<std::ptrdiff_t>(begin % kSlotAlignment));
        }
        return results;
    }

    void expect_all_right(std::vector<ReadResult> const& results) {
        for (auto const& result : results) { EXPECT_FALSE(result.error) << result.error->what(); }
    }

    std::vector<Memory> staging_;
};

TEST_F(GdsReaderTest, RangesAtTheEdgesOfPagesAndFilesAreRight) {
    std::vector<FileRange> ranges;
    for (std::uint64_t const size : {1U, 511U, 4095U, 4096U, 4097U, 3U * 4096U, 70001U}) {
        auto const file = add_file(random_bytes(size, static_cast<unsigned>(size)));
        for (std::uint64_t const begin : {0U, 1U, 511U, 4095U, 4096U, 4097U, 65535U}) {
            if (begin > size) { continue; }
            for (std::uint64_t const length :
                 {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{511}, std::uint64_t{4095}, std::uint64_t{4096},
                  std::uint64_t{4097}, size - begin}) {
                if (begin + length <= size) { ranges.push_back({file, begin, length}); }
            }
        }
        ranges.push_back({file, size - 1, 1});
        ranges.push_back({file, size, 0});
    }
    auto const reader = make_reader();
    expect_all_right(read(*reader, ranges));
    EXPECT_EQ(reader->counters().fallbacks, 0U);
    EXPECT_EQ(accelerator_->pinned(), 0) << "nothing goes through the host";
}

TEST_F(GdsReaderTest, ReadsLessThanTwoPagesTooMuch) {
    constexpr std::uint64_t kMost = 8193;
    add_file(random_bytes(3 * kMost, 7));
    std::mt19937 random(3);
    auto const reader = make_reader();
    for (std::uint64_t size = 1; size <= kMost; ++size) {
        auto const begin = std::uniform_int_distribution<std::uint64_t>(0, kMost)(random) | 1U;
        auto const before = reader->counters().bytes;
        auto const result = read(*reader, {{0, begin, size}}).at(0);
        ASSERT_FALSE(result.error) << result.error->what();
        ASSERT_LT(reader->counters().bytes - before, size + 2 * kSlotAlignment) << begin << " " << size;
    }
}

TEST_F(GdsReaderTest, ManyThreadsReadManyFiles) {
    for (unsigned i = 0; i < 5; ++i) { add_file(random_bytes(400'000 + i, i)); }
    std::mt19937 random(5);
    std::vector<FileRange> ranges;
    for (int i = 0; i < 400; ++i) {
        auto const file = static_cast<std::uint32_t>(i % 5);
        auto const begin = std::uniform_int_distribution<std::uint64_t>(0, 399'999)(random);
        auto const most = std::min<std::uint64_t>(30'000, files_[file].size_bytes - begin);
        ranges.push_back({file, begin, std::uniform_int_distribution<std::uint64_t>(1, most)(random)});
        fake_.script(7 * i, {FakeRead::Kind::slow, i % 3});
    }
    auto const reader = make_reader(GdsFallback::refused, 8);
    expect_all_right(read(*reader, ranges));
    EXPECT_EQ(fake_.counts().files, 5) << "each is registered once";
    EXPECT_EQ(reader->counters().requests, ranges.size());
    EXPECT_EQ(reader->paths(), (GdsPaths{true, 0, ranges.size(), 0, 0}));
}

TEST_F(GdsReaderTest, ShortReadsGoOnWhereTheyStopped) {
    add_file(random_bytes(300'000, 1));
    for (int const missing : {1, 511, 4095, 4096, 4097, 100'000}) {
        auto const nth = fake_.counts().reads;
        fake_.script(nth, {FakeRead::Kind::short_by, missing});
        auto const reader = make_reader(GdsFallback::refused);
        expect_all_right(read(*reader, {{0, 100, 250'000}}));
        EXPECT_GE(fake_.counts().reads, nth + 1);
    }
    EXPECT_THAT(fake_.violations(), testing::IsEmpty()) << "they go on at pages";
}

TEST_F(GdsReaderTest, InterruptionsAreRetried) {
    add_file(random_bytes(20'000, 1));
    fake_.script(0, {FakeRead::Kind::fails, EINTR});
    fake_.script(1, {FakeRead::Kind::fails, EAGAIN});
    auto const reader = make_reader(GdsFallback::refused);
    expect_all_right(read(*reader, {{0, 1, 10'000}}));
    EXPECT_EQ(fake_.counts().reads, 3);
}

TEST_F(GdsReaderTest, ARangeThatFailsIsReadOnceMoreThroughTheHostAndCountedApart) {
    add_file(random_bytes(3'000'000, 1));
    for (auto const failure : {FakeRead{FakeRead::Kind::fails, EIO}, FakeRead{FakeRead::Kind::fails, EINVAL},
                               FakeRead{FakeRead::Kind::fails, ENOMEM}, FakeRead{FakeRead::Kind::refused, 5043},
                               FakeRead{FakeRead::Kind::refused, 5044}}) {
        auto const first = fake_.counts().reads;
        auto const reader = make_reader();
        fake_.script(first + 1, failure);
        expect_all_right(read(*reader, {{0, 1, 5000}, {0, 100, 2'500'000}, {0, 5001, 4096}}));
        auto const counters = reader->counters();
        EXPECT_EQ(counters.fallbacks, 1U);
        EXPECT_GT(counters.fallback_bytes, 0U);
        EXPECT_LT(counters.fallback_bytes, counters.bytes);
        EXPECT_EQ(fake_.counts().reads, first + 3) << "the file is still read by GPUDirect Storage";
    }
}

TEST_F(GdsReaderTest, AFailureInTheMiddleOfARangeDeliversAllOfItOnce) {
    add_file(random_bytes(1'000'000, 1));
    fake_.script(0, {FakeRead::Kind::short_by, 600'000});
    fake_.script(1, {FakeRead::Kind::refused, 5044});
    auto const reader = make_reader();
    expect_all_right(read(*reader, {{0, 3, 999'000}}));
    auto const counters = reader->counters();
    EXPECT_GE(counters.fallback_bytes, 999'000U);
    EXPECT_EQ(counters.bytes - counters.fallback_bytes, 999'424U - 600'000U) << "what came before it failed";
}

TEST_F(GdsReaderTest, AFailureThatIsTheWholeFilesIsNotTriedAgain) {
    add_file(random_bytes(100'000, 1));
    add_file(random_bytes(100'000, 2));
    fake_.script(0, {FakeRead::Kind::refused, 5034});
    auto const reader = make_reader(GdsFallback::allowed, 1);
    expect_all_right(read(*reader, {{0, 1, 5000}, {0, 7000, 5000}, {1, 0, 100}, {0, 12'000, 5000}, {1, 100, 100}}));
    EXPECT_EQ(reader->counters().fallbacks, 3U);
    EXPECT_EQ(fake_.counts().reads, 3) << "one that failed, two of the other file";
}

TEST_F(GdsReaderTest, AFileThatIsNotRegisteredGoesThroughTheHost) {
    add_file(random_bytes(100'000, 1));
    auto const reader = make_reader();
    fake_.answer_handle_register(5008);
    expect_all_right(read(*reader, {{0, 1, 5000}, {0, 7000, 90'000}}));
    EXPECT_EQ(reader->counters().fallbacks, 2U);
    EXPECT_EQ(reader->counters().bytes, reader->counters().fallback_bytes);
    EXPECT_EQ(fake_.counts().reads, 0);
}

TEST_F(GdsReaderTest, WithoutAFallbackAFailureSaysWhereAndWhy) {
    add_file(random_bytes(100'000, 1));
    auto const where = "read " + files_[0].path + " at 4096 for 8192 B by GPUDirect Storage: ";
    struct Case {
        FakeRead read;
        std::string words;
    };
    for (auto const& [failure, words] : std::initializer_list<Case>{
             {{FakeRead::Kind::fails, EIO}, "Input/output error"},
             {{FakeRead::Kind::fails, EPERM}, "Operation not permitted"},
             {{FakeRead::Kind::refused, 5011}, "the CUDA driver refused (cuFile error 5011)"},
             {{FakeRead::Kind::refused, 5044}, "the storage reported an I/O error (cuFile error 5044)"},
             {{FakeRead::Kind::refused, 5049}, "it would need the compatible mode, which is off (cuFile error 5049)"},
         }) {
        fake_.script(fake_.counts().reads, failure);
        auto const reader = make_reader(GdsFallback::refused);
        auto const result = read(*reader, {{0, 5000, 5000}}).at(0);
        EXPECT_THAT(result.error, IsError(Errc::io, where + words));
        EXPECT_TRUE(result.data.empty());
    }
    auto const reader = make_reader(GdsFallback::refused);
    fake_.answer_handle_register(5028);
    EXPECT_THAT(read(*reader, {{0, 5000, 5000}}).at(0).error, IsError(Errc::io, where + "register the file: "));
    EXPECT_EQ(accelerator_->pinned(), 0);
}

TEST_F(GdsReaderTest, ReadsThatMakeNoProgressEnd) {
    add_file(random_bytes(100'000, 1));
    fake_.script_all({FakeRead::Kind::short_by, 8192 - 100});
    auto const strict = make_reader(GdsFallback::refused);
    EXPECT_THAT(read(*strict, {{0, 4096, 8192}}).at(0).error, IsError(Errc::io, "no more than 100 B come at a time"));
    fake_.script_all({FakeRead::Kind::fails, EAGAIN});
    EXPECT_THAT(read(*strict, {{0, 4096, 8192}}).at(0).error, IsError(Errc::io, "temporarily unavailable"));
}

TEST_F(GdsReaderTest, AFileThatWasCutAfterItWasOpenedIsAnErrorThatSaysWhere) {
    for (auto const fallback : {GdsFallback::allowed, GdsFallback::refused}) {
        files_.clear();
        contents_.clear();
        add_file(random_bytes(100'000, 1));
        auto const reader = make_reader(fallback);
        expect_all_right(read(*reader, {{0, 0, 100}}));
        ASSERT_EQ(::truncate(files_[0].path.c_str(), 50'000), 0);
        EXPECT_THAT(read(*reader, {{0, 1, 90'000}}).at(0).error,
                    IsError(Errc::input, "the file ends there, but had 100000 B when its header was read"));
        EXPECT_THAT(read(*reader, {{0, 80'000, 100}}).at(0).error, IsError(Errc::input, files_[0].path));
    }
}

TEST_F(GdsReaderTest, OneBadFileDoesNotSpoilTheOthers) {
    add_file(random_bytes(50'000, 1));
    add_file(random_bytes(50'000, 2));
    files_.push_back({folder_ / "absent", 50'000, 0});
    contents_.emplace_back();
    ASSERT_EQ(::truncate(files_[1].path.c_str(), 40'000), 0);
    auto const reader = make_reader();
    auto const results = read(*reader, {{1, 0, 50'000}, {0, 0, 50'000}, {2, 0, 50'000}, {0, 1, 49'999}});
    EXPECT_THAT(results[0].error, IsError(Errc::input, "has 40000 B now, its header was read when it had 50000"));
    EXPECT_THAT(results[2].error, IsError(Errc::io, "absent: No such file"));
    expect_all_right({results[1], results[3]});
}

TEST_F(GdsReaderTest, AFailingGpuEndsTheFallbackAsAnError) {
    auto const left = std::make_shared<std::atomic<std::int64_t>>(0);
    accelerator_.emplace(fake_, EmulatedGpu{.work_left = left});
    add_file(random_bytes(50'000, 1));
    fake_.script_all({FakeRead::Kind::refused, 5044});
    auto const reader = make_reader();
    EXPECT_THAT(read(*reader, {{0, 0, 10'000}}).at(0).error, IsError(Errc::io, "launch failure"));
}

TEST_F(GdsReaderTest, OneThatGoesAwayWithRequestsUnderWayWaitsForThem) {
    add_file(random_bytes(1 << 20, 9));
    std::vector<FileRange> const ranges(8, {0, 0, 1 << 20});
    auto const into = rooms(ranges);
    fake_.script_all({FakeRead::Kind::slow, 20});
    {
        auto const reader = make_reader();
        for (std::size_t i = 0; i < ranges.size() && reader->has_room(); ++i) {
            reader->submit({i, ranges[i], into[i]});
        }
        while (fake_.counts().reads < 3) { std::this_thread::yield(); }
    }
    auto const after = fake_.counts();
    EXPECT_EQ(after.open_files + after.open_buffers, 0);
    EXPECT_LT(after.reads, 8) << "what no thread had begun is dropped";
}

TEST_F(GdsReaderTest, NothingIsLeftAfterSuccessOrFailure) {
    add_file(random_bytes(100'000, 1));
    add_file(random_bytes(100'000, 2));
    auto const descriptors = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); };
    driver();
    auto const descriptors_before = descriptors();
    auto const free_before = accelerator_->free_bytes();
    for (auto const kind : {FakeRead::Kind::slow, FakeRead::Kind::refused}) {
        fake_.script_all({kind, kind == FakeRead::Kind::slow ? 0 : 5044});
        {
            auto const reader = make_reader(GdsFallback::refused);
            read(*reader, {{0, 0, 10'000}, {1, 5, 10'000}});
        }
        auto const counts = fake_.counts();
        EXPECT_EQ(counts.open_files + counts.open_buffers, 0);
        EXPECT_EQ(descriptors(), descriptors_before);
        staging_.clear();
        EXPECT_EQ(accelerator_->free_bytes(), free_before);
    }
}

TEST_F(GdsReaderTest, TheReaderKeepsItsMemoryUntilItIsDeregistered) {
    add_file(random_bytes(100'000, 1));
    auto reader = make_reader();
    staging_.clear();
    EXPECT_LT(accelerator_->free_bytes(), EmulatedGpu{}.memory_bytes);
    reader.reset();
    EXPECT_EQ(accelerator_->free_bytes(), EmulatedGpu{}.memory_bytes);
}

TEST_F(GdsReaderTest, MemoryThatIsNotRegisteredIsNoPlaceForARequest) {
    add_file(random_bytes(100'000, 1));
    auto const reader = make_reader();
    auto const foreign = accelerator_->allocate(kDevicePage);
    std::vector<FileRange> const ranges = {{0, 0, 100}};
    std::vector<std::span<std::byte>> const into = {foreign.bytes()};
    EXPECT_THAT(read_all(*reader, ranges, into).at(0).error, IsError(Errc::usage, "leaves the memory"));
}

TEST_F(GdsReaderTest, WhatDoesNotWorkAtAllIsUnavailable) {
    fake_.answer_buf_register(5036);
    EXPECT_THAT(error_of([&] { make_reader(); }), IsError(Errc::unavailable, "could not be pinned"));
    EXPECT_EQ(fake_.counts().open_buffers, 0);
    fake_.reset();
    accelerator_->attach_thread();
    fake_.answer_driver_open(5001);
    GdsDriver const closed(settings());
    EXPECT_THAT(error_of([&] { make_gds_reader(files_, *accelerator_, staging(), {.driver = &closed}); }),
                IsError(Errc::unavailable, "nvidia-fs is not loaded"));
    driver_.reset();
}

class GdsReaderSetTest : public GdsReaderTest {
   protected:
    GpuReading gpu(GdsFallback fallback) {
        return {*accelerator_, {staging().begin(), staging().end()}, {4, 1U << 20U}, {2, fallback, &driver()}};
    }

    /// Reads one range of each file through @p set.
    void expect_right(ReaderSet& set) {
        std::vector<FileRange> ranges;
        for (std::uint32_t file = 0; file < files_.size(); ++file) { ranges.push_back({file, 4999, 50'000}); }
        auto const into = rooms(ranges);
        std::vector<ReadResult> results;
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            EXPECT_EQ(set.inline_reader_of(ranges[i].file), nullptr);
            ASSERT_TRUE(set.has_room(ranges[i].file));
            set.submit({i, ranges[i], into[i]});
        }
        set.start();
        while (results.size() < ranges.size()) { set.poll(results, Wait::briefly); }
        for (auto const& result : results) {
            ASSERT_FALSE(result.error) << result.error->what();
            EXPECT_EQ(text_of(result.data), std::string_view(contents_[result.id]).substr(4999, 50'000));
            EXPECT_EQ(result.data.data() - into[result.id].data(), 4999 - 4096);
        }
    }
};

TEST_F(GdsReaderSetTest, EveryKindFillsTheMemoryOfTheGpu) {
    for (unsigned i = 0; i < 3; ++i) { add_file(random_bytes(60'000, i)); }
    std::vector<FileReader> choices = {{ReaderKind::gds, true, ""}, {ReaderKind::pread, false, ""}};
    choices.push_back({uring_obstacle().empty() ? ReaderKind::uring : ReaderKind::pread, true, ""});
    ReaderSet set(files_, choices, {}, gpu(GdsFallback::refused));
    expect_right(set);
    auto const counters = set.counters();
    EXPECT_GT(counters[static_cast<std::size_t>(ReaderKind::gds)].bytes, 50'000U);
    EXPECT_GE(counters[static_cast<std::size_t>(ReaderKind::pread)].bytes, 50'000U);
    EXPECT_EQ(set.gds_paths(), (GdsPaths{true, 0, 1, 0, 0}));
}

TEST_F(GdsReaderSetTest, MemoryThatCannotBeRegisteredIsReplacedByThreadsUnlessGdsWasAskedFor) {
    add_file(random_bytes(60'000, 1));
    std::vector<FileReader> const choices = {{ReaderKind::gds, true, "0 % cached, ext4, GPUDirect Storage"}};
    auto const gpu_allowed = gpu(GdsFallback::allowed);
    fake_.answer_buf_register(5036);
    ReaderSet set(files_, choices, {}, gpu_allowed);
    EXPECT_EQ(set.choices()[0].kind, ReaderKind::pread);
    EXPECT_THAT(set.choices()[0].reason,
                HasSubstr("GPUDirect Storage, through pinned memory after all: GDS: register"));
    EXPECT_FALSE(set.gds_paths());
    expect_right(set);
    EXPECT_THAT(error_of([&] { ReaderSet(files_, choices, {}, gpu(GdsFallback::refused)); }),
                IsError(Errc::unavailable, "--io gds: register 64.0 KiB of GPU memory"));
}

TEST_F(GdsReaderSetTest, ReadersThatWorkInPlaceAreRefused) {
    add_file("12345");
    for (auto const kind : {ReaderKind::cached, ReaderKind::mmap}) {
        std::vector<FileReader> const choices = {{kind, false, ""}};
        EXPECT_THAT(error_of([&] { ReaderSet(files_, choices, {}, gpu(GdsFallback::allowed)); }),
                    IsError(Errc::usage, "in place"));
    }
}

}  // namespace
}  // namespace shardwise::test
