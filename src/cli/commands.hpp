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

/// The options of a load, the same on every rank (collective), with the mesh completed by the size of the job.
Options parse_load_options(std::vector<std::string> const& arguments, std::vector<std::string> const& environment,
                           Context& context);

/// Collective; results go to stdout on rank 0.
void run_load(Options const& options, Context& context);

/// The options of an export, the same on every rank (collective).
Options parse_export_options(std::vector<std::string> const& arguments, std::vector<std::string> const& environment,
                             Context& context);

/// Collective; results go to stdout on rank 0.
void run_export(Options const& options, Context& context);
void run_convert(Options const& options);

/// The options of a calibration, the same on every rank (collective).
Options parse_calibrate_options(std::vector<std::string> const& arguments, std::vector<std::string> const& environment,
                                Context& context);

/// Collective; the profile goes to --out or stdout on rank 0.
void run_calibrate(Options const& options, Context& context);

/// True if both sides hold the same.
bool run_verify(Options const& options);

}  // namespace shardwise::cli
