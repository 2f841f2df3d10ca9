/// @file
/// Messages between GPUs by NCCL.
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.hpp"
#include "comm/transport.hpp"
#include "device/accelerator.hpp"

namespace shardwise {

/// Why NCCL cannot connect the GPUs of all ranks, in words that are the same on every rank; empty if it can.
/// Collective.
/// @param stream of the accelerator, whichever.
std::string nccl_obstacle(Communicator& communicator, Accelerator const& accelerator, Stream const& stream);

/// Connects all ranks; to be called where there is no obstacle. Messages go in order with the work of @p stream, which
/// outlives the transport. Collective.
/// @throws Error io, the same on every rank, with NCCL's words.
std::unique_ptr<Transport> make_nccl_transport(Communicator& communicator, Stream& stream);

}  // namespace shardwise
