#include "io/uploading_reader.hpp"

#include <chrono>
#include <deque>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "util/units.hpp"

namespace shardwise {
namespace {

class UploadingReader final : public Reader {
   public:
    UploadingReader(std::unique_ptr<Reader> inner, Accelerator& accelerator, UploadOptions options)
        : gpu_(accelerator.describe()), buffer_bytes_(options.buffer_bytes), uploads_(options.buffers) {
        accelerator.attach_thread();
        ring_ = accelerator.allocate_pinned(options.buffers * options.buffer_bytes);
        stream_ = accelerator.make_stream();
        inner_ = std::move(inner);
        for (std::size_t i = options.buffers; i-- > 0;) { free_.push_back(i); }
    }

    ~UploadingReader() override {
        inner_.reset();  // nothing is read into the ring any more
        try {
            finish(*stream_);
        } catch (Error const&) {}  // a GPU that has failed copies nothing any more, either
    }

    bool has_room() const noexcept override { return !free_.empty() && inner_->has_room(); }

    void submit(ReadRequest const& request) override {
        auto const& range = request.range;
        if (range.begin % kSlotAlignment + range.size_bytes > buffer_bytes_) {
            Error const error(Errc::memory, fmt::format("a read of {} does not fit a pinned buffer of {}",
                                                        format_bytes(range.size_bytes), format_bytes(buffer_bytes_)));
            refused_.push_back({request.id, {}, error});
            return;
        }
        auto const index = free_.back();
        free_.pop_back();
        uploads_[index] = {request.id, request.into.subspan(range.begin % kSlotAlignment, range.size_bytes)};
        inner_->submit({index, range, ring_.bytes().subspan(index * buffer_bytes_, buffer_bytes_)});
    }

    void start() override { inner_->start(); }

    void poll(std::vector<ReadResult>& results, Wait wait) override {
        auto const before = results.size();
        auto const deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
        std::move(refused_.begin(), refused_.end(), std::back_inserter(results));
        refused_.clear();
        for (;;) {
            // With copies under way the end of one of them may come first, which no reader wakes up for.
            bool const may_sleep = wait == Wait::briefly && under_way_.empty() && results.size() == before;
            inner_->poll(read_, may_sleep ? Wait::briefly : Wait::no);
            for (auto const& result : read_) { upload(result, results); }
            read_.clear();
            collect(results);
            bool const is_over = wait == Wait::no || results.size() > before || under_way_.empty();
            if (is_over || std::chrono::steady_clock::now() >= deadline) { return; }
            std::this_thread::sleep_for(std::chrono::microseconds(20));
        }
    }

    ReadCounters counters() const noexcept override { return inner_->counters(); }

   private:
    /// What becomes of one buffer.
    struct Upload {
        std::uint64_t id = 0;
        std::span<std::byte> target;
    };

    struct Copy {
        std::uint64_t mark;
        std::size_t buffer;
    };

    void upload(ReadResult const& read, std::vector<ReadResult>& results) {
        auto const index = static_cast<std::size_t>(read.id);
        auto const& [id, target] = uploads_[index];
        if (read.error) { return end(index, read.error, results); }
        try {
            stream_->copy(read.data, target.data());
            under_way_.push_back({stream_->mark(), index});
        } catch (Error const& error) { end(index, words_of(error), results); }
    }

    /// Gives back the buffers whose copies have ended.
    void collect(std::vector<ReadResult>& results) {
        try {
            while (!under_way_.empty() && stream_->has_passed(under_way_.front().mark)) {
                end(under_way_.front().buffer, std::nullopt, results);
                under_way_.pop_front();
            }
        } catch (Error const& error) {
            for (auto const& copy : under_way_) { end(copy.buffer, words_of(error), results); }
            under_way_.clear();
        }
    }

    void end(std::size_t index, std::optional<Error> error, std::vector<ReadResult>& results) {
        auto const& [id, target] = uploads_[index];
        results.push_back({id, error ? std::span<std::byte const>() : target, std::move(error)});
        free_.push_back(index);
    }

    Error words_of(Error const& error) const { return error.while_(fmt::format("copy what was read to {}", gpu_)); }

    std::string gpu_;
    std::uint64_t buffer_bytes_;
    std::vector<Upload> uploads_;    ///< one a buffer
    std::vector<std::size_t> free_;  ///< buffers
    std::deque<Copy> under_way_;     ///< in the order of the stream
    std::vector<ReadResult> read_;
    std::vector<ReadResult> refused_;
    Memory ring_;  // before what reads from it and writes to it
    std::unique_ptr<Stream> stream_;
    std::unique_ptr<Reader> inner_;
};

}  // namespace

std::unique_ptr<Reader> make_uploading_reader(std::unique_ptr<Reader> inner, Accelerator& accelerator,
                                              UploadOptions options) {
    return std::make_unique<UploadingReader>(std::move(inner), accelerator, options);
}

}  // namespace shardwise
