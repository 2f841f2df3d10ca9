/// @file
/// What a rank did when: a timeline that shows whether reading, exchange and placing overlap.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace shardwise {

/// One piece of work.
struct TraceEvent {
    std::string row;   ///< who did it. Examples: "main", "lane 1", "reads"
    std::string name;  ///< what. Examples: "place", "uring"
    double begin = 0;  ///< seconds since the log was made
    double end = 0;
    std::uint64_t bytes = 0;
    std::string detail = {};  ///< on what. Example: "model-00001-of-00004.safetensors [4096, 8192)"
};

/// Collects the events of one rank, from any thread. The first kMostEvents are kept, the others counted.
class TraceLog {
   public:
    static constexpr std::size_t kMostEvents = 200'000;

    /// Seconds since the log was made.
    double now() const noexcept { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

    void add(TraceEvent event);

    std::vector<TraceEvent> events() const;
    std::uint64_t left_out() const noexcept;

   private:
    using Clock = std::chrono::steady_clock;

    Clock::time_point const begin_ = Clock::now();
    mutable std::mutex mutex_;
    std::vector<TraceEvent> events_;
    std::uint64_t left_out_ = 0;
};

}  // namespace shardwise
