/// @file
/// Puts bytes into place with kernels of a GPU.
#pragma once

#include <memory>

#include <shardwise/trace.hpp>

#include "convert/place.hpp"
#include "device/accelerator.hpp"
#include "exec/placer.hpp"

namespace shardwise {

/// The placer of @p accelerator. Tensors and the sources of jobs lie in its memory; there are no jobs with readers.
/// @param exchange stream of the transport: pack() works there, before the messages that follow.
/// @param scalings in memory of the host; they are brought to the GPU.
/// @param descriptor_bytes as Plan has it.
/// @param log gets an event for every job, from its launch until it is seen to be done; null: none.
std::unique_ptr<Placer> make_device_placer(Accelerator& accelerator, Stream& exchange, TensorSpans tensors,
                                           Scalings scalings, std::uint64_t descriptor_bytes, TraceLog* log = nullptr);

}  // namespace shardwise
