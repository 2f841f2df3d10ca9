/// @file
/// The ranks that load together.
#pragma once

#include <cstdint>
#include <memory>

namespace shardwise {

class Communicator;

/// Owns shardwise's side of the connection to the other ranks; one per job is enough. All MPI calls are made by the
/// thread that calls shardwise (MPI_THREAD_FUNNELED is enough), on communicators of shardwise's own.
/// <shardwise/mpi.hpp> makes one from a communicator of yours.
class Context {
   public:
    /// One process without MPI.
    static Context self();

    /// All of MPI_COMM_WORLD; initialises MPI if nobody has, and then finalises it at the end.
    /// @param deadline_seconds how long any rank waits for the others before it gives up with Error peer.
    static Context world(std::int64_t deadline_seconds = 300);

    explicit Context(std::unique_ptr<Communicator> communicator);
    Context(Context&&) noexcept;
    Context& operator=(Context&&) noexcept;
    ~Context();

    int rank() const noexcept;
    int size() const noexcept;

    Communicator& communicator() noexcept { return *communicator_; }

   private:
    struct MpiSession;  ///< finalises MPI if shardwise initialised it

    std::unique_ptr<MpiSession> session_;
    std::unique_ptr<Communicator> communicator_;
};

}  // namespace shardwise
