/// @file
/// Threads that copy bytes into place.
#pragma once

#include <atomic>
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
#include "device/host_memory.hpp"
#include "io/reader.hpp"

namespace shardwise {

/// One piece of work: blocks out of bytes that were read or received; or, with a reader, read first and then placed.
struct PlaceJob {
    std::uint64_t id = 0;
    std::span<CopyBlock const> blocks = {};
    std::span<std::byte const> source = {};  ///< empty with a reader
    bool is_packed = false;             ///< runs follow each other, as messages carry them
    InlineReader* reader = nullptr;
    FileRange range = {};               ///< what the reader is to read; block sources count from its first byte
    bool is_by_runs = false;            ///< the reader reads each run for itself, straight into place
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
    /// @param room_bytes greatest range that a job's reader reads.
    /// @param scalings what the codes of quantized tensors are dequantized with; must outlive the lanes.
    Lanes(std::size_t threads, TensorSpans tensors, std::uint64_t room_bytes, Scalings scalings = {});
    ~Lanes();

    std::size_t threads() const noexcept { return workers_.size() + 1; }

    void submit(PlaceJob job);

    /// Appends finished jobs; the caller copies one itself if it is waiting in the queue.
    void poll(std::vector<PlaceDone>& done);

    /// Jobs submitted and not yet polled.
    std::size_t under_way() const noexcept { return under_way_; }

    /// Memory in use for reading.
    std::uint64_t staging_bytes() const noexcept { return rooms_bytes_; }

    /// Waits until no thread copies any more.
    void drain();

   private:
    /// Memory of one thread for what cannot be read straight into place; made when it is first needed.
    using Room = HostMemory;

    PlaceDone run(PlaceJob const& job, Room& room);
    void read_and_place(PlaceJob const& job, Room& room);
    void read_runs(PlaceJob const& job);
    void work(std::stop_token const& stop);
    std::optional<PlaceJob> take();

    TensorSpans tensors_;
    Scalings scalings_;
    std::uint64_t room_bytes_;
    Room own_room_;  ///< of the caller's thread
    std::atomic<std::uint64_t> rooms_bytes_ = 0;
    std::size_t under_way_ = 0;
    std::mutex mutex_;
    std::condition_variable work_added_;
    std::deque<PlaceJob> queue_;
    std::vector<PlaceDone> done_;
    std::vector<std::jthread> workers_;
};

}  // namespace shardwise
