/// @file
/// The rank files of a folder, checked against its manifest.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "exec/object_reader.hpp"
#include "mapping/parameters.hpp"
#include "sink/manifest.hpp"

namespace shardwise {

/// Where every rank's tensors lie.
struct RankFileSet {
    std::vector<std::string> paths;                ///< by rank
    std::vector<std::vector<std::uint64_t>> begin; ///< by rank and parameter: first byte in the file; of the first copy

    ObjectPlace place(int rank, std::uint32_t parameter) const {
        auto const file = static_cast<std::size_t>(rank);
        return {static_cast<std::uint32_t>(file), begin[file][parameter]};
    }
};

/// Reads the headers of rank files, each by one rank of the job, and shares them (collective).
/// @throws Error the same on every rank: io; input naming file and tensor for files that are not of this set, or do not
///         hold what the manifest says.
RankFileSet open_rank_files(std::string const& folder, Manifest const& manifest, std::span<Parameter const> parameters,
                            Communicator& communicator);

}  // namespace shardwise
