#include <shardwise/context.hpp>

#include <fmt/format.h>

#include <shardwise/error.hpp>
#include <shardwise/mpi.hpp>

#include "comm/mpi_communicator.hpp"

namespace shardwise {

struct Context::MpiSession {
    MpiSession() {
        int provided = 0;
        if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
            throw Error(Errc::peer, "MPI does not start");
        }
        if (provided < MPI_THREAD_FUNNELED) {
            throw Error(Errc::unavailable, fmt::format("MPI offers thread level {}, MPI_THREAD_FUNNELED ({}) is needed",
                                                       provided, MPI_THREAD_FUNNELED));
        }
    }
    MpiSession(MpiSession const&) = delete;
    MpiSession& operator=(MpiSession const&) = delete;
    ~MpiSession() {
        int is_finalized = 0;
        MPI_Finalized(&is_finalized);
        if (is_finalized == 0) { MPI_Finalize(); }
    }
};

Context::Context(std::unique_ptr<Communicator> communicator) : communicator_(std::move(communicator)) {}
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;

Context::~Context() {
    communicator_.reset();  // before MPI ends
}

int Context::rank() const noexcept { return communicator_->rank(); }
int Context::size() const noexcept { return communicator_->size(); }

Context Context::self() { return Context(make_self_communicator()); }

Context Context::world(std::int64_t deadline_seconds) {
    int is_initialized = 0;
    MPI_Initialized(&is_initialized);
    auto session = is_initialized == 0 ? std::make_unique<MpiSession>() : nullptr;
    auto context = make_context(MPI_COMM_WORLD, deadline_seconds);
    context.session_ = std::move(session);
    return context;
}

Context make_context(MPI_Comm comm, std::int64_t deadline_seconds) {
    return Context(
        std::make_unique<MpiCommunicator>(comm, MpiOptions{.deadline = std::chrono::seconds(deadline_seconds)}));
}

}  // namespace shardwise
