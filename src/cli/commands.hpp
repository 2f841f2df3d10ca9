/// @file
/// The commands of the program.
#pragma once

#include <string>
#include <vector>

#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/context.hpp>

#include "cli/options.hpp"

namespace shardwise::cli {

/// The architecture that the options or the checkpoint name, with the user's own rules.
Architecture chosen_architecture(Options const& options, Catalog const& catalog);

void run_inspect(Options const& options);
void run_plan(Options const& options);

/// Collective; results go to stdout on rank 0.
/// @throws Error usage where the mesh does not fit the size of the job.
void run_load(Options options, Context& context);

/// Collective; results go to stdout on rank 0.
void run_export(Options const& options, Context& context);
void run_convert(Options const& options);

/// Collective; the profile goes to --out or stdout on rank 0.
void run_calibrate(Options const& options, Context& context);

/// True if both sides hold the same.
bool run_verify(Options const& options);

}  // namespace shardwise::cli
