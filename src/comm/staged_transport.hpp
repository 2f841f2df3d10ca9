/// @file
/// Messages between the memories of GPUs by way of the host: for ranks that NCCL cannot connect.
#pragma once

#include <cstdint>
#include <memory>

#include "comm/transport.hpp"
#include "device/accelerator.hpp"

namespace shardwise {

/// Sends and receives memory of @p accelerator with @p inner, through @p message_bytes of pinned memory, which all
/// messages between two moments of is_idle() must fit. What is sent is taken in order with the work of @p stream, which
/// both outlive the transport.
std::unique_ptr<Transport> make_staged_transport(std::unique_ptr<Transport> inner, Accelerator& accelerator,
                                                 Stream& stream, std::uint64_t message_bytes);

}  // namespace shardwise
