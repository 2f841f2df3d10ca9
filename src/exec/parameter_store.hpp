/// @file
/// The memory behind a ParameterStore.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include <shardwise/materialize.hpp>

#include "device/accelerator.hpp"

namespace shardwise {

struct ParameterStore::Data {
    std::vector<PlannedTensor> tensors;
    std::vector<Memory> memory;  ///< one arena, or one stretch a tensor
    std::vector<std::span<std::byte>> spans;  ///< by tensor
    std::shared_ptr<Accelerator> accelerator;  ///< whose memory it is; null: the host's
};

}  // namespace shardwise
