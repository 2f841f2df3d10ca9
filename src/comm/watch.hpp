/// @file
/// Looks after ranks that wait for other ranks, so that nobody waits for ever.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

#include <shardwise/error.hpp>

namespace shardwise {

/// A rank on the same node, as its neighbours can see it.
struct NodePeer {
    std::int32_t rank = 0;
    std::int32_t pid = 0;
    std::uint64_t pid_namespace = 0;  ///< pids mean the same only inside one namespace
};

/// This process as its neighbours should see it.
NodePeer describe_self(int rank);

/// Set by a program's signal handler when the launcher ends the job; a waiting rank then stops with an error.
std::atomic<bool>& termination_requested() noexcept;

/// What a rank says then; of no rank yet.
Error asked_to_end();

/// Checks made while waiting. Not thread-safe.
class Watch {
   public:
    Watch(std::vector<NodePeer> peers, int rank, std::chrono::seconds deadline);

    void set_deadline(std::chrono::seconds deadline) noexcept { deadline_ = deadline; }
    std::chrono::seconds deadline() const noexcept { return deadline_; }

    /// Starts one wait.
    void begin() noexcept;

    /// Sleeps a little when nothing has happened for a while. True once the wait has lasted longer than the deadline.
    /// @throws Error peer if a rank of this node is gone or the launcher has asked this process to end.
    [[nodiscard]] bool pause();

   private:
    using Clock = std::chrono::steady_clock;

    void look_for_dead_peers() const;

    std::vector<NodePeer> peers_;
    int rank_;
    std::chrono::seconds deadline_;
    Clock::time_point began_;
    Clock::time_point looked_;
    std::uint32_t spins_ = 0;
};

}  // namespace shardwise
