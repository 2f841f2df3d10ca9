/// @file
/// Threads that copy bytes into place: the placer of the host.
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

#include <shardwise/trace.hpp>

#include "convert/place.hpp"
#include "device/host_memory.hpp"
#include "exec/fresh_pages.hpp"
#include "exec/placer.hpp"

namespace shardwise {

/// A pool of `threads` copying threads, the caller's included: with one, submit() copies at once.
class Lanes final : public Placer {
   public:
    /// @param room_bytes greatest range that a job's reader reads.
    /// @param scalings what the codes of quantized tensors are dequantized with; must outlive the lanes.
    /// @param log gets an event for every job; null: none.
    Lanes(std::size_t threads, TensorSpans tensors, std::uint64_t room_bytes, Scalings scalings = {},
          TraceLog* log = nullptr);
    ~Lanes() override;

    std::size_t threads() const noexcept override { return workers_.size() + 1; }
    bool is_polled() const noexcept override { return false; }
    void submit(PlaceJob job) override;

    /// As every placer; the caller copies one job itself if it is waiting in the queue.
    void poll(std::vector<PlaceDone>& done) override;
    std::size_t under_way() const noexcept override { return under_way_; }
    void pack(std::span<CopyBlock const> blocks, std::span<std::byte const> source,
              std::span<std::byte> packed) override;
    void make_ready(std::span<CopyBlock const> blocks) noexcept override { fresh_pages_.bring_in(blocks); }
    bool make_next_ready() noexcept override { return fresh_pages_.bring_in_next(); }
    void drain() noexcept override;
    std::uint64_t staging_bytes() const noexcept override { return rooms_bytes_; }

   private:
    /// Memory of one thread for what cannot be read straight into place; made when it is first needed.
    using Room = HostMemory;

    PlaceDone run(PlaceJob const& job, Room& room, std::size_t lane);
    void read_and_place(PlaceJob const& job, Room& room);
    void read_runs(PlaceJob const& job, CopyBlock const& block);
    void work(std::stop_token const& stop, std::size_t lane);
    std::optional<PlaceJob> take();

    TensorSpans tensors_;
    FreshPages fresh_pages_;  ///< under the tensors
    Scalings scalings_;
    TraceLog* log_;
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
