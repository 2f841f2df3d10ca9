/// @file
/// Divides a thread's time into phases without gap or overlap, so that they sum to the whole.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <utility>

#include <shardwise/trace.hpp>

namespace shardwise {

enum class Phase : std::uint8_t { read, exchange, place };

class PhaseClock {
   public:
    /// From now on time counts for @p phase; returns the phase before.
    Phase enter(Phase phase) {
        auto const now = Clock::now();
        seconds_[static_cast<std::size_t>(phase_)] += std::chrono::duration<double>(now - since_).count();
        since_ = now;
        if (log_ != nullptr && phase != phase_) { note(); }
        return std::exchange(phase_, phase);
    }

    /// From now on @p log gets an event for every phase that lasts, on the row "main".
    void set_log(TraceLog* log) {
        log_ = log;
        noted_ = log == nullptr ? 0 : log->now();
    }

    double seconds(Phase phase) const noexcept { return seconds_[static_cast<std::size_t>(phase)]; }
    double total() const noexcept { return std::accumulate(seconds_.begin(), seconds_.end(), 0.0); }

   private:
    /// A thread that goes to and fro between phases many times a millisecond stays in the one before.
    void note() {
        constexpr double kLeastSeconds = 20e-6;
        constexpr std::array kNames = {"wait for storage", "exchange", "place"};
        auto const now = log_->now();
        if (now - noted_ < kLeastSeconds) { return; }
        log_->add({"main", kNames[static_cast<std::size_t>(phase_)], noted_, now, 0});
        noted_ = now;
    }

    using Clock = std::chrono::steady_clock;

    Clock::time_point since_ = Clock::now();
    Phase phase_ = Phase::read;
    std::array<double, 3> seconds_ = {};
    TraceLog* log_ = nullptr;
    double noted_ = 0;  ///< what the log has goes up to here
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
