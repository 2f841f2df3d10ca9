/// @file
/// For programs that use MPI themselves: a context over a communicator of theirs.
#pragma once

#include <cstdint>

// The C++ bindings that some MPIs still pull in would have to be linked; shardwise uses the C ones.
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include <shardwise/context.hpp>

namespace shardwise {

/// All ranks of @p comm, which stays the caller's and is only duplicated. Collective; MPI must be initialised with at
/// least MPI_THREAD_FUNNELED and stay so while the context lives.
Context make_context(MPI_Comm comm, std::int64_t deadline_seconds = 300);

}  // namespace shardwise
