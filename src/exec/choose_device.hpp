/// @file
/// Host or GPU.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include <shardwise/back_ends.hpp>

#include "comm/communicator.hpp"
#include "device/accelerator.hpp"

namespace shardwise {

/// Where the tensors of a load are to lie: as @p wanted says, else in the memory of a GPU if every rank sees one.
/// Collective; the same on all ranks.
/// @param option that wants it, for the error. Example: "--device cuda".
/// @throws Error unavailable with the rank that has no GPU and the reason, if one is wanted.
Device choose_device(std::optional<Device> wanted, std::string_view option, Communicator& communicator);

/// The GPU of this rank: number @p wanted of those that this process sees, else the only one, else by the rank's number
/// on its node, around again where there are more ranks than GPUs.
/// @throws Error unavailable; Error usage if there is no such number.
std::shared_ptr<Accelerator> open_own_gpu(std::optional<int> wanted, Communicator const& communicator);

}  // namespace shardwise
