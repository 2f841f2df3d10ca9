/// @file
/// Finds out which ranks do not answer, and lets one rank say so for all.
#pragma once

#include <chrono>
#include <vector>

#include <shardwise/error.hpp>
#include <shardwise/mpi.hpp>

namespace shardwise {

/// A rank that has waited too long calls all others. Those that are alive answer from inside their own waits and end,
/// too, quietly; who does not answer is named by the caller. If several call at once, the lowest has the word; so that
/// it knows of those that have answered another one, every rank answers to all.
class RollCall {
   public:
    /// Uses tags of its own on @p comm, which must outlive it.
    explicit RollCall(MPI_Comm comm);

    /// To be called again and again while waiting.
    /// @throws Error peer on the calling rank's behalf if there is one.
    void answer();

    /// Ends this rank's part because of @p why, a neighbour's death or a signal. Ranks that leave call as those do that
    /// have waited too long: who hears a call before its own leaves quietly; of several that call within a tenth of a
    /// second the lowest has the word.
    /// @throws Error as @p why, with the rank that has the word.
    [[noreturn]] void leave(Error const& why);

    /// @throws Error peer that names the ranks that do not answer within a fifth of a second.
    [[noreturn]] void call(std::chrono::seconds waited);

   private:
    /// Takes the messages that are there; the lowest rank that calls, or -1.
    int take();
    void tell_all(int tag);
    [[noreturn]] void leave_the_word_to(int rank);

    /// @throws Error peer on behalf of a rank less than @p below that calls meanwhile.
    void listen(std::chrono::milliseconds time, int below);

    /// Calls, and listens so long for lower ranks that do. @throws Error peer on their behalf.
    void take_the_word(std::chrono::milliseconds time_to_answer);

    MPI_Comm comm_;
    int rank_ = 0;
    int size_ = 1;
    int speaker_ = -1;           ///< that has the word, once it is known
    std::vector<bool> is_here_;  ///< by rank: has called or answered
};

}  // namespace shardwise
