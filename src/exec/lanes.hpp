/// @file
/// Threads that copy bytes into place.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include <shardwise/error.hpp>
#include <shardwise/plan.hpp>

#include "convert/place.hpp"
#include "io/reader.hpp"

namespace shardwise {

/// One copy: blocks out of bytes that were read, received or lent by a reader.
struct PlaceJob {
    std::uint64_t id = 0;
    std::span<CopyBlock const> blocks;
    std::span<std::byte const> source;
    bool is_packed = false;    ///< runs follow each other, as messages carry them
    Reader* lender = nullptr;  ///< set when `source` is lent; it is brought in first and given back after
};

struct PlaceDone {
    std::uint64_t id = 0;
    std::optional<Error> error;
};

/// Cores this rank may use: its affinity mask, shared evenly where several ranks of a node have the same one.
std::size_t usable_cores(std::size_t ranks_on_node);

/// A pool of `threads` copying threads, the caller's included: with one, submit() copies at once.
class Lanes {
   public:
    Lanes(std::size_t threads, TensorSpans tensors);
    ~Lanes();

    std::size_t threads() const noexcept { return workers_.size() + 1; }

    void submit(PlaceJob job);

    /// Appends finished jobs; the caller copies one itself if it is waiting in the queue.
    void poll(std::vector<PlaceDone>& done);

    /// Jobs submitted and not yet polled.
    std::size_t under_way() const noexcept { return under_way_; }

    /// Waits until no thread copies any more.
    void drain();

   private:
    PlaceDone run(PlaceJob const& job) const;
    void work(std::stop_token const& stop);
    std::optional<PlaceJob> take();

    TensorSpans tensors_;
    std::size_t under_way_ = 0;
    std::mutex mutex_;
    std::condition_variable work_added_;
    std::deque<PlaceJob> queue_;
    std::vector<PlaceDone> done_;
    std::vector<std::jthread> workers_;
};

}  // namespace shardwise
