/// @file
/// Divides a thread's time into phases without gap or overlap, so that they sum to the whole.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <numeric>

namespace shardwise {

enum class Phase : std::uint8_t { read, exchange, place };

class PhaseClock {
   public:
    /// From now on time counts for @p phase; returns the phase before.
    Phase enter(Phase phase) {
        auto const now = Clock::now();
        seconds_[static_cast<std::size_t>(phase_)] += std::chrono::duration<double>(now - since_).count();
        since_ = now;
        return std::exchange(phase_, phase);
    }

    double seconds(Phase phase) const noexcept { return seconds_[static_cast<std::size_t>(phase)]; }
    double total() const noexcept { return std::accumulate(seconds_.begin(), seconds_.end(), 0.0); }

   private:
    using Clock = std::chrono::steady_clock;

    Clock::time_point since_ = Clock::now();
    Phase phase_ = Phase::read;
    std::array<double, 3> seconds_ = {};
};

/// Counts time for a phase until the end of a scope.
class InPhase {
   public:
    InPhase(PhaseClock& clock, Phase phase) : clock_(clock), before_(clock.enter(phase)) {}
    InPhase(InPhase const&) = delete;
    InPhase& operator=(InPhase const&) = delete;
    ~InPhase() { clock_.enter(before_); }

   private:
    PhaseClock& clock_;
    Phase before_;
};

}  // namespace shardwise
