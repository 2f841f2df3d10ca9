#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include <fmt/format.h>
#include <unistd.h>

#include "io/file_access.hpp"
#include "io/reader.hpp"
#include "util/file.hpp"

namespace shardwise {
namespace {

class PreadReader final : public Reader {
   public:
    PreadReader(std::span<FileRecord const> files, std::vector<bool> wants_direct, std::size_t threads)
        : files_(open_when_read(files, std::move(wants_direct))), limit_(threads * kRequestsPerThread) {
        for (std::size_t i = 0; i < threads; ++i) {
            threads_.emplace_back([this](std::stop_token const& stop) { work(stop); });
        }
    }

    ~PreadReader() override {
        {
            // Under the lock, or a thread that has just found nothing to do sleeps through it.
            std::lock_guard const lock(mutex_);
            for (auto& thread : threads_) { thread.request_stop(); }
        }
        work_added_.notify_all();
    }

    bool has_room() const noexcept override { return under_way_ < limit_; }

    void submit(ReadRequest const& request) override {
        ReadResult failed{request.id, {}, {}};
        ++under_way_;
        try {
            auto& access = files_[request.range.file];
            std::lock_guard const lock(mutex_);
            queue_.push_back({request.id, &access, Transfer(request.range, request.into, access.allows_direct())});
        } catch (Error const& error) {
            failed.error = error;
            std::lock_guard const lock(mutex_);
            finished_.push_back(std::move(failed));
        }
        work_added_.notify_one();
    }

    void poll(std::vector<ReadResult>& results, Wait wait) override {
        std::unique_lock lock(mutex_);
        if (wait == Wait::briefly) {
            work_done_.wait_for(lock, std::chrono::milliseconds(1), [&] { return !finished_.empty(); });
        }
        under_way_ -= finished_.size();
        std::move(finished_.begin(), finished_.end(), std::back_inserter(results));
        finished_.clear();
    }

    ReadCounters counters() const noexcept override { return {requests_, bytes_, fallbacks_}; }

   private:
    static constexpr std::size_t kRequestsPerThread = 4;

    struct Job {
        std::uint64_t id;
        FileAccess* access;
        Transfer transfer;
    };

    void work(std::stop_token const& stop) {
        std::unique_lock lock(mutex_);
        for (;;) {
            work_added_.wait(lock, [&] { return stop.stop_requested() || !queue_.empty(); });
            if (stop.stop_requested()) { return; }
            auto job = std::move(queue_.front());
            queue_.pop_front();
            lock.unlock();
            auto result = run(job);
            lock.lock();
            finished_.push_back(std::move(result));
            work_done_.notify_one();
        }
    }

    ReadResult run(Job& job) {
        ReadResult result{job.id, {}, {}};
        try {
            for (bool is_done = false; !is_done;) { is_done = step(job); }
            result.data = job.transfer.data();
        } catch (Error const& error) { result.error = error; }
        return result;
    }

    /// One pread; true when the range is there.
    bool step(Job& job) {
        auto const target = job.transfer.target();
        ssize_t const got = ::pread(job.transfer.fd(*job.access), target.data(), target.size(),
                                    static_cast<off_t>(job.transfer.offset()));
        ++requests_;
        if (got > 0) { bytes_ += static_cast<std::uint64_t>(got); }
        auto const next = take_outcome(*job.access, job.transfer, got < 0 ? -errno : got);
        if (next == NextStep::fall_back) { ++fallbacks_; }
        return next == NextStep::done;
    }

    OpenedFiles<FileAccess> files_;
    std::size_t limit_;
    std::size_t under_way_ = 0;  ///< submitted and not yet polled; of the caller's thread
    std::mutex mutex_;
    std::condition_variable work_added_;
    std::condition_variable work_done_;
    std::deque<Job> queue_;
    std::vector<ReadResult> finished_;
    std::atomic<std::uint64_t> requests_ = 0;
    std::atomic<std::uint64_t> bytes_ = 0;
    std::atomic<std::uint64_t> fallbacks_ = 0;
    std::vector<std::jthread> threads_;  // last: they use everything above
};

}  // namespace

std::unique_ptr<Reader> make_pread_reader(std::span<FileRecord const> files, std::vector<bool> wants_direct,
                                          std::size_t threads) {
    return std::make_unique<PreadReader>(files, std::move(wants_direct), threads);
}

}  // namespace shardwise
