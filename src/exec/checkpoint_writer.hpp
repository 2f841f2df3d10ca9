/// @file
/// Files of a checkpoint that appear together: written under temporary names by all ranks, then renamed, the index
/// last.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "exec/output_pieces.hpp"
#include "sink/atomic_file.hpp"
#include "sink/checkpoint_layout.hpp"

namespace shardwise {

/// This rank's files of a layout.
class CheckpointWriter {
   public:
    /// @param folder is made if need be, with the first file.
    CheckpointWriter(CheckpointLayout const& layout, std::string folder)
        : layout_(layout), folder_(std::move(folder)) {}

    /// Appends to the file of @p window, which begins with the first one and is forced to the disk after the last.
    /// @throws Error io.
    void write(Window const& window, std::span<std::byte const> bytes);

    /// Gives all files their names. @throws Error io.
    void commit();

   private:
    CheckpointLayout const& layout_;
    std::string folder_;
    std::vector<PendingFile> files_;
    std::optional<FileWriter> writer_;  ///< of the last one
};

/// Refuses a folder that holds rank files; without @p overwrite also one that holds a checkpoint or another
/// config.json.
/// @param config_json what would be written there; empty for none.
/// @throws Error input.
void check_target(std::string const& folder, std::string const& config_json, bool overwrite);

/// Gives the files of all ranks their names (collective). Of an older checkpoint in the folder, the index goes before,
/// and files that belonged to it and are not in @p layout after; everything else there stays.
/// @throws Error io, the same on every rank.
void put_in_place(CheckpointLayout const& layout, std::string const& folder, std::string const& config_json,
                  CheckpointWriter& writer, Communicator& communicator);

}  // namespace shardwise
