/// @file
/// Checkpoint files out of what ranks hold in memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "exec/checkpoint_writer.hpp"
#include "exec/output_pieces.hpp"

namespace shardwise {

/// What this rank holds, by object.
using HeldTensors = std::span<std::span<std::byte const> const>;

/// Bytes of a window when @p ranks exchange windows: a rank may have pieces of every one of a round.
std::uint64_t gathered_window_bytes(int ranks) noexcept;

/// Puts together and writes every rank's windows, one of each rank a round: ranks pack what they hold of the windows of
/// the others and send it, writers put it in place (collective).
/// @param windows of every rank, in the order in which it writes them.
/// @throws Error the same on every rank.
void gather_windows(WindowParts& parts, HeldTensors tensors, std::span<std::vector<Window> const> windows,
                    CheckpointWriter& writer, Communicator& communicator);

}  // namespace shardwise
