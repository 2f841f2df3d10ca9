/// @file
/// Which files make up the checkpoint at a path. Looks at names and the index, never at tensor files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <shardwise/catalog.hpp>

#include "catalog/file_header.hpp"

namespace shardwise {

/// The files of one checkpoint, in natural order.
struct FileSet {
    std::string root;                                ///< the folder, or the file if the checkpoint is one file
    std::string config_json;                         ///< text of config.json; empty if there is none
    std::vector<std::string> paths;                  ///< tensor files
    std::string index_path;                          ///< empty without an index
    /// Tensors that the index gives each of paths; empty without one.
    std::vector<std::vector<std::string_view>> listed = {};
    std::shared_ptr<void const> listed_text = {};  ///< where their names lie
};

/// Finds the files of the checkpoint at @p path.
///
/// A folder: the index if there is one (`model.safetensors.index.json`, or the only `*.safetensors.index.json`), else
/// `model.safetensors` alone, else every `*.safetensors` but training state (optimizer, scheduler, scaler, ...). Links
/// are followed, and a hub cache folder (`refs/main`, `snapshots/`) stands for its main snapshot.
/// @throws Error io; Error input for a folder without tensor files, an index that is malformed, names a file outside
///         the folder or one that does not exist, or when several indexes leave the choice open.
FileSet resolve_file_set(std::string const& path);

/// Puts a catalog together from the parsed headers, one for each of @p files.paths in that order.
/// @throws Error input: a name in two files (without an index), an index entry that its file does not hold.
Catalog build_catalog(FileSet const& files, std::vector<FileHeader> headers);

std::vector<std::byte> encode(FileSet const& files);
FileSet decode_file_set(std::vector<std::byte> bytes);

}  // namespace shardwise
