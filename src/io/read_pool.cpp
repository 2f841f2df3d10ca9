#include "io/read_pool.hpp"

#include <chrono>
#include <iterator>
#include <optional>
#include <utility>

namespace shardwise {
namespace {

/// Empty, or what @p begin throws.
std::optional<Error> failure_of(std::function<void()> const& begin) {
    try {
        if (begin) { begin(); }
        return std::nullopt;
    } catch (Error const& error) { return error; }
}

}  // namespace

ReadPool::ReadPool(std::size_t threads, std::function<void()> begin_thread)
    : begin_thread_(std::move(begin_thread)), limit_(threads * kRequestsPerThread) {
    for (std::size_t i = 0; i < threads; ++i) {
        threads_.emplace_back([this, i](std::stop_token const& stop) { work(stop, i); });
    }
}

ReadPool::~ReadPool() {
    {
        // Under the lock, or a thread that has just found nothing to do sleeps through it.
        std::lock_guard const lock(mutex_);
        for (auto& thread : threads_) { thread.request_stop(); }
    }
    work_added_.notify_all();
}

void ReadPool::submit(std::uint64_t id, Job job) {
    ++under_way_;
    {
        std::lock_guard const lock(mutex_);
        queue_.push_back({id, std::move(job)});
    }
    work_added_.notify_one();
}

void ReadPool::poll(std::vector<ReadResult>& results, Wait wait) {
    std::unique_lock lock(mutex_);
    if (wait == Wait::briefly) {
        work_done_.wait_for(lock, std::chrono::milliseconds(1), [&] { return !finished_.empty(); });
    }
    under_way_ -= finished_.size();
    std::move(finished_.begin(), finished_.end(), std::back_inserter(results));
    finished_.clear();
}

void ReadPool::work(std::stop_token const& stop, std::size_t thread) {
    auto const failure = failure_of(begin_thread_);
    std::unique_lock lock(mutex_);
    for (;;) {
        work_added_.wait(lock, [&] { return stop.stop_requested() || !queue_.empty(); });
        if (stop.stop_requested()) { return; }
        auto const entry = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        ReadResult result{entry.id, {}, failure};
        try {
            if (!failure) { result.data = entry.job(thread); }
        } catch (Error const& error) { result.error = error; }
        lock.lock();
        finished_.push_back(std::move(result));
        work_done_.notify_one();
    }
}

}  // namespace shardwise
