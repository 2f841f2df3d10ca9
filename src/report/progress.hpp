/// @file
/// How far a load is: a bar on a terminal, a line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>

#include <shardwise/materialize.hpp>

namespace shardwise {

enum class ProgressMode : std::uint8_t {
    automatic,  ///< a bar if stderr is a terminal, else a line every few seconds
    always,     ///< a bar wherever stderr goes
    never,
};

/// Draws on stderr. For one rank of a job.
class ProgressLine {
   public:
    explicit ProgressLine(ProgressMode mode);
    ~ProgressLine();

    void update(Progress const& progress);

   private:
    using Clock = std::chrono::steady_clock;

    bool is_bar_;
    bool is_silent_;
    bool has_drawn_ = false;
    Clock::time_point began_ = Clock::now();
    Clock::time_point shown_ = began_;
};

}  // namespace shardwise
