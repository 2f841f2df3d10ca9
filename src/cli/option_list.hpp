/// @file
/// Every option there is: its name, what its value looks like, what holds without it, and what help says of it.
#pragma once

#include <boost/program_options.hpp>

#include "cli/options.hpp"

namespace shardwise::cli {

/// The options of a command, in the groups that its help shows.
boost::program_options::options_description options_of(Command command);

}  // namespace shardwise::cli
