#include "cli/commands.hpp"

#include <cstdio>

#include <fmt/format.h>

#include <shardwise/shardwise.hpp>
#include <shardwise/verify.hpp>

#include "io/file_access.hpp"
#include "report/explanation.hpp"
#include "report/plan_report.hpp"
#include "util/file.hpp"

namespace shardwise::cli {
namespace {

/// What is known of the files without a job: as told, or as this machine sees them.
std::vector<FileFacts> facts_for_plan(Catalog const& catalog, std::string const& assume) {
    std::vector<FileFacts> facts;
    for (auto const& file : catalog.files()) {
        if (assume.empty()) {
            facts.push_back(probe_file(file));
        } else {
            facts.emplace_back();
            facts.back().cached_fraction = assume == "cached" ? 1.0 : 0.0;
        }
    }
    return facts;
}

}  // namespace

Architecture chosen_architecture(Options const& options, Catalog const& catalog) {
    auto architecture = options.architecture.empty() ? Architecture::for_config(catalog.config_json())
                                                     : Architecture::load(options.architecture);
    for (auto const& file : options.rules) { architecture = architecture.with_rules(read_text(file), file); }
    return architecture;
}

void run_inspect(Options const& options) {
    auto const catalog = Catalog::open(options.paths.front());
    fmt::print("{}", options.as_json ? catalog_json(catalog) : catalog_table(catalog));
}

void run_plan(Options const& options) {
    auto const catalog = Catalog::open(options.paths.front());
    auto const architecture = chosen_architecture(options, catalog);
    auto const facts = facts_for_plan(catalog, options.assume);
    auto const first = options.rank.value_or(0);
    auto const last = options.rank.value_or(options.plan.mesh.world() - 1);
    if (!options.explain.empty()) {
        fmt::print("{}", explain_parameter(catalog, architecture, options.plan, options.explain, facts, first, last));
        return;
    }
    std::vector<Plan> plans;
    for (auto rank = first; rank <= last; ++rank) {
        plans.push_back(make_plan(catalog, architecture, options.plan, rank, facts));
    }
    fmt::print("{}", options.as_json ? plan_json(plans, options.rank.has_value()) : plan_table(plans));
}

bool run_verify(Options const& options) {
    auto const a = digest_contents(options.paths[0]);
    auto const b = digest_contents(options.paths[1]);
    auto const differences = compare_contents(a, b);
    for (auto const& difference : differences) { fmt::print("{}\n", difference); }
    fmt::print("{} of {} tensors are the same\n", a.size() - std::min(a.size(), differences.size()), a.size());
    return differences.empty();
}

}  // namespace shardwise::cli
