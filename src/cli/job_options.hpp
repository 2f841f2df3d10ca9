/// @file
/// The options of a command that all ranks of a job carry out.
#pragma once

#include <string>
#include <vector>

#include <shardwise/context.hpp>

#include "cli/options.hpp"

namespace shardwise::cli {

/// The same on every rank: of the arguments, which all were started with, and of rank 0's SHARDWISE_ variables, as
/// launchers carry an environment to other hosts in part or not at all. Collective; its deadline holds from then on.
/// @param arguments this rank's, without the program's name.
/// @param variables this rank's, as parse_options takes them.
/// @throws Error as parse_options; Error usage on all ranks where one has other arguments than rank 0.
Options parse_job_options(std::vector<std::string> const& arguments, std::vector<std::string> const& variables,
                          Context& context);

}  // namespace shardwise::cli
