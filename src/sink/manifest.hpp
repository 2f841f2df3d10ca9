/// @file
/// Reading shardwise.json back.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <shardwise/plan.hpp>

namespace shardwise {

/// A folder of rank files, as its manifest describes it.
struct Manifest {
    Mesh mesh;
    std::string format;
    std::vector<std::string> files;                ///< by rank, names inside the folder
    std::map<std::string, PlannedTensor> tensors;  ///< name, dtype, global shape and placement are set
};

/// Where a folder's manifest is: FOLDER/shardwise.json.
std::string manifest_path(std::string const& folder);

/// True if @p folder has a manifest.
bool has_manifest(std::string const& folder);

/// @throws Error io; Error input naming the file, the key and what was expected.
Manifest read_manifest(std::string const& folder);

}  // namespace shardwise
