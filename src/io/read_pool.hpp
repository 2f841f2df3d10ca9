/// @file
/// Threads for readers whose system calls wait: each does one request after the other.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "io/reader.hpp"

namespace shardwise {

/// Requests in, results out. Submitted to and polled by one thread. One that goes away finishes the requests that
/// threads have begun, and drops the others.
class ReadPool {
   public:
    /// What one request comes to; runs on thread @p thread of the pool, counted from 0. What it throws is the result.
    using Job = std::function<std::span<std::byte const>(std::size_t thread)>;

    /// @param begin_thread first thing that each thread does; every request to a thread where it throws fails with it.
    explicit ReadPool(std::size_t threads, std::function<void()> begin_thread = {});
    ReadPool(ReadPool const&) = delete;
    ReadPool& operator=(ReadPool const&) = delete;
    ~ReadPool();

    bool has_room() const noexcept { return under_way_ < limit_; }

    /// @param id of the result.
    void submit(std::uint64_t id, Job job);

    /// As Reader.
    void poll(std::vector<ReadResult>& results, Wait wait);

   private:
    static constexpr std::size_t kRequestsPerThread = 4;

    struct Entry {
        std::uint64_t id;
        Job job;
    };

    void work(std::stop_token const& stop, std::size_t thread);

    std::function<void()> begin_thread_;
    std::size_t limit_;
    std::size_t under_way_ = 0;  ///< submitted and not yet polled; of the caller's thread
    std::mutex mutex_;
    std::condition_variable work_added_;
    std::condition_variable work_done_;
    std::deque<Entry> queue_;
    std::vector<ReadResult> finished_;
    std::vector<std::jthread> threads_;  // last: they use everything above
};

}  // namespace shardwise
