// shardwise calibrate: what this machine does in a second, as a profile that plans and loads can be given.
#include <cstdio>

#include <fmt/format.h>

#include <shardwise/profile.hpp>

#include "cli/commands.hpp"
#include "comm/communicator.hpp"
#include "sink/atomic_file.hpp"

namespace shardwise::cli {

void run_calibrate(Options const& options, Context& context) {
    together(context.communicator(), [&] {
        if (!options.out.empty() && context.rank() == 0) { PendingFile const profile_file(options.out); }
    });
    std::vector<std::string> notes;
    auto const profile = calibrate(options.paths.front(), context, notes);
    together(context.communicator(), [&] {
        if (context.rank() != 0) { return; }
        for (auto const& note : notes) { fmt::print(stderr, "shardwise: note: {}\n", note); }
        if (options.out.empty()) {
            fmt::print("{}", to_json(profile));
            std::fflush(stdout);
        } else {
            write_file_atomically(options.out, to_json(profile));
        }
    });
}

}  // namespace shardwise::cli
