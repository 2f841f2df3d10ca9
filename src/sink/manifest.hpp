/// @file
/// Reading shardwise.json back.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <shardwise/plan.hpp>

#include "sink/rank_files.hpp"
#include "sink/source_record.hpp"

namespace shardwise {

/// A folder of rank files, as its manifest describes it.
struct Manifest {
    Mesh mesh;
    RankFormat format = RankFormat::safetensors;
    std::vector<std::string> files;                ///< by rank, names inside the folder
    std::string source_digest;                     ///< of the catalog, as rank files have it, too
    std::map<std::string, PlannedTensor> tensors;  ///< name, dtype, global shape and placement are set
    std::optional<SourceRecord> source;            ///< nothing in manifests of versions that had no way back
};

/// Where a folder's manifest is: FOLDER/shardwise.json.
std::string manifest_path(std::string const& folder);

/// True if @p folder has a manifest.
bool has_manifest(std::string const& folder);

/// @throws Error io; Error input naming the file, the key and what was expected.
Manifest read_manifest(std::string const& folder);

/// The same from text; @p path is how errors call it.
Manifest parse_manifest(std::string const& text, std::string const& path);

}  // namespace shardwise
