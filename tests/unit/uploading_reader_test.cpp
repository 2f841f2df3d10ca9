// Ranges of files in the memory of an emulated GPU, over readers that are right, slow, out of order and failing.
#include "io/uploading_reader.hpp"

#include <deque>
#include <random>
#include <thread>

#include <gmock/gmock.h>

#include "support/emulated_accelerator.hpp"
#include "support/error_of.hpp"
#include "support/faulty_reader.hpp"
#include "support/read_all.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

constexpr std::byte kFresh{0xA5};  // what the emulated GPU's memory is full of

std::string pattern(std::uint64_t size, unsigned seed) {
    std::string bytes(size, '\0');
    std::mt19937 random(seed);
    for (auto& byte : bytes) { byte = static_cast<char>(random()); }
    return bytes;
}

/// Hands results on one poll later, the last one first, and counts how many requests it holds.
class LateReader final : public Reader {
   public:
    LateReader(std::unique_ptr<Reader> inner, std::size_t& most_under_way)
        : inner_(std::move(inner)), most_under_way_(most_under_way) {}

    bool has_room() const noexcept override { return inner_->has_room(); }
    void submit(ReadRequest const& request) override {
        most_under_way_ = std::max(most_under_way_, ++under_way_);
        inner_->submit(request);
    }
    void start() override { inner_->start(); }
    void poll(std::vector<ReadResult>& results, Wait wait) override {
        under_way_ -= held_.size();
        results.insert(results.end(), held_.rbegin(), held_.rend());
        held_.clear();
        inner_->poll(held_, wait);
    }
    ReadCounters counters() const noexcept override { return inner_->counters(); }

   private:
    std::unique_ptr<Reader> inner_;
    std::size_t& most_under_way_;
    std::size_t under_way_ = 0;
    std::vector<ReadResult> held_;
};

class UploadingReaderTest : public testing::Test {
   protected:
    static constexpr std::uint64_t kBufferBytes = 64ULL << 10U;

    void add_file(std::uint64_t size) {
        auto const seed = static_cast<unsigned>(files_.size());
        contents_.push_back(pattern(size, seed));
        files_.push_back({folder_.write("file-" + std::to_string(seed), contents_.back()), size, 0});
    }

    std::unique_ptr<Reader> pread(bool is_direct = false) const {
        return make_pread_reader(files_, std::vector<bool>(files_.size(), is_direct), 2);
    }

    std::unique_ptr<Reader> uploading(std::unique_ptr<Reader> inner, std::size_t buffers = 4) const {
        return make_uploading_reader(std::move(inner), *accelerator_, {buffers, kBufferBytes});
    }

    /// Ranges of any alignment, none longer than a buffer holds.
    std::vector<FileRange> random_ranges(int count) const {
        std::mt19937 random(20261122);
        auto const pick = [&](std::uint64_t low, std::uint64_t high) {
            return std::uniform_int_distribution<std::uint64_t>(low, high)(random);
        };
        std::vector<FileRange> ranges;
        for (int i = 0; i < count; ++i) {
            auto const file = static_cast<std::uint32_t>(pick(0, files_.size() - 1));
            auto const begin = pick(0, files_[file].size_bytes);
            auto const most = std::min(kBufferBytes - begin % kSlotAlignment, files_[file].size_bytes - begin);
            ranges.push_back({file, begin, pick(0, i % 3 == 0 ? most : std::min<std::uint64_t>(most, 5000))});
        }
        return ranges;
    }

    /// Reads @p ranges into memory of the GPU and looks at all of that.
    std::vector<ReadResult> read(Reader& reader, std::vector<FileRange> const& ranges) {
        memory_ = accelerator_->allocate(16ULL << 20U);
        auto const into = pages_in(memory_.bytes(), ranges);
        auto results = read_all(reader, ranges, into);
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            auto const& [file, begin, size] = ranges[i];
            auto const skip = begin % kSlotAlignment;
            EXPECT_THAT(into[i].first(skip), testing::Each(kFresh)) << "written to before the range";
            EXPECT_THAT(into[i].subspan(skip + size), testing::Each(kFresh)) << "written to behind the range";
            if (results[i].error) { continue; }
            EXPECT_EQ(results[i].data.data(), into[i].data() + skip);
            EXPECT_EQ(text_of(results[i].data), std::string_view(contents_[file]).substr(begin, size)) << begin;
        }
        return results;
    }

    ScratchFolder folder_;
    std::vector<FileRecord> files_;
    std::vector<std::string> contents_;
    std::shared_ptr<std::atomic<std::int64_t>> work_left_ = std::make_shared<std::atomic<std::int64_t>>(1'000'000);
    std::unique_ptr<Accelerator> accelerator_ = make_emulated_accelerator({.work_left = work_left_});
    Memory memory_;
};

void expect_all_right(std::vector<ReadResult> const& results) {
    for (auto const& result : results) { EXPECT_FALSE(result.error) << result.error->what(); }
}

TEST_F(UploadingReaderTest, AnyRangeIsInTheMemoryOfTheGpuWhoeverReads) {
    for (auto const size : {1U, 4095U, 4096U, 4097U, 1'000'001U}) { add_file(size); }
    auto const ranges = random_ranges(300);
    for (bool const is_direct : {false, true}) {
        auto const reader = uploading(pread(is_direct));
        expect_all_right(read(*reader, ranges));
        EXPECT_GT(reader->counters().bytes, 0U);
        if (!uring_obstacle().empty()) { continue; }
        auto const by_uring = uploading(make_uring_reader(files_, std::vector<bool>(files_.size(), is_direct), 8));
        expect_all_right(read(*by_uring, ranges));
    }
}

TEST_F(UploadingReaderTest, OneBufferIsEnough) {
    add_file(300'000);
    auto const reader = uploading(pread(), 1);
    expect_all_right(read(*reader, random_ranges(50)));
}

TEST_F(UploadingReaderTest, ResultsThatComeLateAndInAnotherOrderStayWithTheirRequests) {
    for (int i = 0; i < 3; ++i) { add_file(200'000); }
    std::size_t most_under_way = 0;
    auto const reader = uploading(std::make_unique<LateReader>(pread(), most_under_way), 5);
    expect_all_right(read(*reader, random_ranges(200)));
    EXPECT_EQ(most_under_way, 5U) << "no more than there are buffers, and as many";
}

TEST_F(UploadingReaderTest, ErrorsOfTheReaderPassThroughAndGiveTheirBufferBack) {
    add_file(200'000);
    std::unique_ptr<Reader> faulty = pread();
    for (std::uint64_t const nth : {0U, 3U, 4U, 5U, 17U}) {
        faulty = std::make_unique<FaultyReader>(std::move(faulty), files_, nth);
    }
    auto const reader = uploading(std::move(faulty), 2);
    auto const ranges = random_ranges(40);
    auto const results = read(*reader, ranges);
    std::size_t failed = 0;
    for (std::size_t i = 0; i < results.size(); ++i) {
        if (!results[i].error) { continue; }
        ++failed;
        EXPECT_THAT(results[i].error, IsError(Errc::io, files_[0].path + " at " + std::to_string(ranges[i].begin)));
        EXPECT_TRUE(results[i].data.empty());
    }
    EXPECT_EQ(failed, 5U);
}

TEST_F(UploadingReaderTest, AFileThatIsMissingIsAnErrorOfItsRangesOnly) {
    add_file(10'000);
    files_.push_back({folder_ / "absent", 10'000, 0});
    contents_.emplace_back();
    auto const reader = uploading(pread());
    auto const results = read(*reader, {{1, 0, 10}, {0, 1, 9999}});
    EXPECT_THAT(results[0].error, IsError(Errc::io, "absent: No such file"));
    EXPECT_FALSE(results[1].error);
}

TEST_F(UploadingReaderTest, AFailingGpuEndsEveryRequestAsAnError) {
    add_file(200'000);
    *work_left_ = 10;
    auto const reader = uploading(pread());
    std::size_t failed = 0;
    for (auto const& result : read(*reader, random_ranges(60))) {
        if (!result.error) { continue; }
        ++failed;
        EXPECT_THAT(result.error, IsError(Errc::io, "copy what was read to GPU emulated: GPU emulated: unspecified"));
    }
    EXPECT_GE(failed, 50U);
    EXPECT_TRUE(reader->has_room()) << "all buffers are back";
}

TEST_F(UploadingReaderTest, ARequestThatDoesNotFitABufferIsAnError) {
    add_file(300'000);
    auto const reader = uploading(pread());
    auto const results = read(*reader, {{0, 0, kBufferBytes}, {0, 1, kBufferBytes}, {0, 1, kBufferBytes - 1}});
    EXPECT_FALSE(results[0].error);
    EXPECT_THAT(results[1].error, IsError(Errc::memory, "a read of 64.0 KiB does not fit a pinned buffer of 64.0 KiB"));
    EXPECT_FALSE(results[2].error);
}

TEST_F(UploadingReaderTest, OneThatGoesAwayWithWorkUnderWayWaitsForIt) {
    add_file(1'000'000);
    auto const ranges = random_ranges(8);
    for (int i = 0; i < 50; ++i) {
        auto const memory = accelerator_->allocate(1U << 20U);
        auto const into = pages_in(memory.bytes(), ranges);
        {
            auto const reader = uploading(pread());
            std::vector<ReadResult> results;
            for (std::size_t next = 0; next < ranges.size() && reader->has_room(); ++next) {
                reader->submit({next, ranges[next], into[next]});
                if (i % 2 == 0) { reader->poll(results, Wait::no); }
            }
        }
        // Memory that is given back here must not be written to any more, which AddressSanitizer would see.
    }
}

TEST_F(UploadingReaderTest, KeepsManyCopiesUnderWay) {
    add_file(1'000'000);
    // A stream whose first piece of work ends when all buffers are filled: who waits for each copy never gets there.
    class GatedStream final : public Stream {
     public:
        explicit GatedStream(std::size_t gate) : gate_(gate) {}
        void copy(std::span<std::byte const> from, std::byte* to) override {
            std::ranges::copy(from, to);
            ++given_;
        }
        std::uint64_t mark() override { return given_; }
        bool has_passed(std::uint64_t mark) override { return given_ >= gate_ && given_ >= mark; }
        void* native() const noexcept override { return nullptr; }
        void run(std::function<void()> work) override { work(); }

     private:
        std::uint64_t gate_;
        std::uint64_t given_ = 0;
    };
    class GatedGpu final : public Accelerator {
     public:
        std::string describe() const override { return inner_->describe(); }
        std::string uuid() const override { return inner_->uuid(); }
        std::uint64_t free_bytes() const override { return inner_->free_bytes(); }
        Memory allocate(std::uint64_t size, std::uint64_t alignment) override {
            return inner_->allocate(size, alignment);
        }
        MemoryHandle share(Memory const& memory) override { return inner_->share(memory); }
        Memory open(MemoryHandle const& handle, std::uint64_t size) override { return inner_->open(handle, size); }
        Memory allocate_pinned(std::uint64_t size) override { return inner_->allocate_pinned(size); }
        std::unique_ptr<Stream> make_stream() override { return std::make_unique<GatedStream>(6); }
        void attach_thread() override {}
        std::uint64_t peak_bytes() const noexcept override { return inner_->peak_bytes(); }

     private:
        std::unique_ptr<Accelerator> inner_ = make_emulated_accelerator();
    };
    accelerator_ = std::make_unique<GatedGpu>();
    auto const reader = uploading(pread(), 6);
    expect_all_right(read(*reader, std::vector<FileRange>(6, {0, 4097, 5000})));
}

}  // namespace
}  // namespace shardwise::test
