// shardwise export and convert: checkpoints out of rank files, and of other checkpoints.
#include <chrono>
#include <cstdio>

#include <fmt/format.h>

#include <shardwise/export.hpp>

#include "cli/commands.hpp"
#include "comm/communicator.hpp"
#include "report/export_report.hpp"

namespace shardwise::cli {
namespace {

/// Calls @p write and prints what it wrote, on one rank.
template <class Write>
void report(char const* verb, std::string const& out, bool is_speaker, Write write) {
    auto const start = std::chrono::steady_clock::now();
    ExportReport const done = write();
    auto const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!is_speaker) { return; }
    fmt::print("{}", export_table(done, verb, out, seconds));
    std::fflush(stdout);
}

}  // namespace

void run_export(Options const& options, Context& context) {
    report("exported", options.out, context.rank() == 0, [&] {
        return export_checkpoint(options.paths.front(), options.out, options.writing, context);
    });
}

void run_convert(Options const& options) {
    report("converted", options.out, true, [&] {
        auto const catalog = Catalog::open(options.paths.front());
        for (auto const& warning : catalog.warnings()) { fmt::print(stderr, "shardwise: warning: {}\n", warning); }
        return convert_checkpoint(catalog, chosen_architecture(options, catalog), options.out,
                                  options.writing);
    });
}

}  // namespace shardwise::cli
