/// @file
/// Handing tensors in the memory of GPUs on to other processes.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <shardwise/handoff.hpp>

#include "comm/communicator.hpp"
#include "sink/handoff_file.hpp"

namespace shardwise {

/// What others need to open the tensors of @p store.
/// @throws Error usage if they do not lie in one stretch of a GPU's memory; Error unavailable where that cannot be
///         shared.
HandoffFile handoff_of(ParameterStore const& store, Plan const& plan);

/// open_handoff with another way from a UUID to its GPU; null where that GPU is not visible.
ParameterStore open_handoff(std::string const& folder, std::int64_t rank,
                            std::function<std::shared_ptr<Accelerator>(std::string const& uuid)> const& find);

/// Waits until the manifest of @p folder is gone or another one, or this process is asked to end; then takes away the
/// manifest and this rank's file, if they are still the ones that were there. Collective at the start.
/// @throws Error io, the same on every rank, if a rank does not see the manifest.
void hold_handoff(std::string const& folder, Communicator& communicator);

}  // namespace shardwise
