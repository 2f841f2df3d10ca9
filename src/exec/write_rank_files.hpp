/// @file
/// Writing what all ranks hold, so that a folder with a manifest is always one complete set.
#pragma once

#include <cstdint>
#include <string>

#include <shardwise/context.hpp>
#include <shardwise/materialize.hpp>
#include <shardwise/plan.hpp>

#include "sink/rank_files.hpp"

namespace shardwise {

/// What was loaded, and by which rules.
struct LoadSource {
    Catalog const& catalog;
    Architecture const& architecture;
    PlanOptions const& options;
};

/// Writes every rank's tensors into @p folder (collective): all files are written and forced to the disk, then all get
/// their names, then rank 0 writes the manifest shardwise.json. An older set in the folder loses its manifest before
/// and its surplus files after.
/// @param source of the load; the manifest keeps it for the way back.
/// @return bytes this rank wrote.
/// @throws Error io and others, the same on every rank; nothing half-written then stands under a final name.
std::uint64_t write_rank_files(ParameterStore const& store, Plan const& plan, Context& context,
                               std::string const& folder, RankFormat format, LoadSource const& source);

}  // namespace shardwise
