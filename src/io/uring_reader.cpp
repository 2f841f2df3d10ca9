#include <algorithm>
#include <cerrno>

#include <fmt/format.h>
#include <liburing.h>

#include "io/reader.hpp"
#include "io/transfer.hpp"
#include "util/file.hpp"

namespace shardwise {
namespace {

/// The submission and completion rings.
class Ring {
   public:
    explicit Ring(unsigned entries) {
        int const result = io_uring_queue_init(entries, &ring_, 0);
        if (result < 0) {
            throw Error(Errc::unavailable, fmt::format("io_uring cannot be used here: {}", explain(-result)));
        }
    }
    Ring(Ring const&) = delete;
    Ring& operator=(Ring const&) = delete;
    ~Ring() { io_uring_queue_exit(&ring_); }

    io_uring* get() noexcept { return &ring_; }

   private:
    static std::string explain(int error_number) {
        switch (error_number) {
            case EPERM: return "not permitted (a container's seccomp profile, or kernel.io_uring_disabled)";
            case ENOSYS: return "the kernel does not have it";
            case ENOMEM: return "not enough lockable memory (ulimit -l)";
            default: return fmt::format("error {}", error_number);
        }
    }

    io_uring ring_ = {};
};

class UringReader final : public Reader {
   public:
    UringReader(std::span<FileRecord const> files, std::vector<bool> wants_direct, std::size_t depth)
        : files_(open_when_read(files, std::move(wants_direct))), jobs_(depth), ring_(static_cast<unsigned>(depth)) {
        for (std::size_t i = depth; i-- > 0;) { free_.push_back(i); }
    }

    bool has_room() const noexcept override { return !free_.empty(); }

    void submit(ReadRequest const& request) override {
        try {
            auto& access = files_[request.range.file];
            auto const index = free_.back();
            free_.pop_back();
            jobs_[index] = {request.id, &access,
                            Transfer(request.range, request.into, access.allows_direct(), request.landings)};
            prepare(index);
        } catch (Error const& error) { failed_.push_back({request.id, {}, error}); }
    }

    void start() override { flush(); }

    void poll(std::vector<ReadResult>& results, Wait wait) override {
        std::move(failed_.begin(), failed_.end(), std::back_inserter(results));
        failed_.clear();
        flush();
        io_uring_cqe* completion = nullptr;
        if (wait == Wait::briefly && under_way() > 0 && results.empty()) {
            __kernel_timespec timeout = {0, 1'000'000};
            io_uring_wait_cqe_timeout(ring_.get(), &completion, &timeout);
        }
        while (io_uring_peek_cqe(ring_.get(), &completion) == 0) {
            auto const index = static_cast<std::size_t>(completion->user_data);
            int const outcome = completion->res;
            io_uring_cqe_seen(ring_.get(), completion);
            finish(index, outcome, results);
        }
        flush();
    }

    ReadCounters counters() const noexcept override { return counters_; }

    ~UringReader() override {
        // The kernel still writes into the callers' memory until every request is back.
        while (under_way() > 0) {
            flush();
            io_uring_cqe* completion = nullptr;
            if (io_uring_wait_cqe(ring_.get(), &completion) != 0) { continue; }
            free_.push_back(static_cast<std::size_t>(completion->user_data));
            io_uring_cqe_seen(ring_.get(), completion);
        }
    }

   private:
    struct Job {
        std::uint64_t id = 0;
        FileAccess* access = nullptr;
        std::optional<Transfer> transfer;
    };

    std::size_t under_way() const noexcept { return jobs_.size() - free_.size(); }

    void prepare(std::size_t index) {
        auto const& job = jobs_[index];
        auto* entry = io_uring_get_sqe(ring_.get());
        if (entry == nullptr) {
            flush();
            entry = io_uring_get_sqe(ring_.get());
        }
        auto const targets = job.transfer->targets();
        io_uring_prep_readv(entry, job.transfer->fd(*job.access), targets.data(), static_cast<unsigned>(targets.size()),
                            job.transfer->offset());
        // A read from the page cache is a copy in the submitter's time unless a kernel thread is asked to do it.
        if (!job.transfer->is_direct()) { entry->flags |= IOSQE_ASYNC; }
        entry->user_data = index;
        ++unsubmitted_;
        ++counters_.requests;
    }

    void flush() {
        while (unsubmitted_ > 0) {
            int const submitted = io_uring_submit(ring_.get());
            if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN && submitted != -EBUSY) {
                throw_errno(-submitted, fmt::format("submit {} reads to io_uring", unsubmitted_));
            }
            if (submitted <= 0) { return; }
            unsubmitted_ -= static_cast<std::size_t>(submitted);
        }
    }

    void finish(std::size_t index, int outcome, std::vector<ReadResult>& results) {
        auto& job = jobs_[index];
        try {
            if (outcome > 0) { counters_.bytes += static_cast<std::uint64_t>(outcome); }
            auto const next = take_outcome(*job.access, *job.transfer, outcome);
            if (next == NextStep::fall_back) { ++counters_.fallbacks; }
            if (next != NextStep::done) { return prepare(index); }
            results.push_back({job.id, job.transfer->data(), {}});
        } catch (Error const& error) { results.push_back({job.id, {}, error}); }
        free_.push_back(index);
    }

    OpenedFiles<FileAccess> files_;
    std::vector<Job> jobs_;
    std::vector<std::size_t> free_;  ///< jobs not under way
    std::vector<ReadResult> failed_;
    std::size_t unsubmitted_ = 0;
    ReadCounters counters_;
    Ring ring_;
};

}  // namespace

std::unique_ptr<Reader> make_uring_reader(std::span<FileRecord const> files, std::vector<bool> wants_direct,
                                          std::size_t depth) {
    return std::make_unique<UringReader>(files, std::move(wants_direct), depth);
}

std::string uring_obstacle() {
    try {
        Ring const ring(1);
        return {};
    } catch (Error const& error) { return error.what(); }
}

}  // namespace shardwise
