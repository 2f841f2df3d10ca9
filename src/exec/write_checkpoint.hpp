/// @file
/// A checkpoint, window by window: what export and convert have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <shardwise/export.hpp>

#include "comm/communicator.hpp"
#include "exec/checkpoint_writer.hpp"
#include "exec/output_pieces.hpp"

namespace shardwise {

/// Refuses a folder as check_target() does; rank 0 looks (collective).
void check_target_once(std::string const& out, std::string const& config_json, ExportOptions const& options,
                       Communicator& communicator);

/// Every rank's windows.
std::vector<std::vector<Window>> deal_windows(CheckpointLayout const& layout, int ranks, std::uint64_t window_bytes);

/// Puts the bytes of a window together.
using FillWindow = std::function<void(Window const& window, std::span<std::byte> bytes)>;

/// Writes @p layout with all ranks, each its files by itself (collective).
/// @throws Error the same on every rank.
void write_checkpoint(CheckpointLayout const& layout, std::string const& config_json, std::string const& out,
                      FillWindow const& fill, Communicator& communicator);

/// @param is_used by tensor of @p source: something of it was written.
ExportReport report_of(CheckpointLayout const& layout, std::string const& out, Catalog const& source,
                       std::vector<bool> const& is_used);

}  // namespace shardwise
