#include "cli/commands.hpp"

#include <cstdio>

#include <fmt/format.h>

#include <shardwise/shardwise.hpp>
#include <shardwise/verify.hpp>

#include "io/file_access.hpp"
#include "mapping/parameters.hpp"
#include "plan/mapping_options.hpp"
#include "plan/planner.hpp"
#include "plan/simulation.hpp"
#include "report/explanation.hpp"
#include "report/plan_report.hpp"
#include "report/simulation_report.hpp"
#include "util/file.hpp"
#include "util/parallel.hpp"

namespace shardwise::cli {
namespace {

/// What is known of the files without a job, as this machine sees them; what is in the page cache, as told.
std::vector<FileFacts> facts_for_plan(Catalog const& catalog, std::string const& assume) {
    std::vector<FileFacts> facts(catalog.files().size());
    for_each_file(facts.size(), [&](std::size_t file) {
        facts[file] = probe_file(catalog.files()[file]);
        if (assume.empty()) { return; }
        facts[file].is_memory = false;
        facts[file].cached_fraction = assume == "cached" ? 1.0 : 0.0;
    });
    return facts;
}

/// Predicts loads of so many ranks each from the plans of one copy's ranks, one plan in memory at a time.
void simulate(Options const& options, Catalog const& catalog, Architecture const& architecture,
              std::span<FileFacts const> facts) {
    auto plan_options = options.plan;
    auto const ranks_per_node =
        options.ranks_per_node > 0 ? options.ranks_per_node : plan_options.profile.ranks_per_node;
    auto const parameters = map_parameters(catalog, architecture, mapping_options(plan_options));
    std::vector<SimulatedLoad> loads;
    for (auto const ranks : options.simulated_ranks) {
        auto& mesh = plan_options.mesh;
        mesh.dp = ranks / options.plan.mesh.world();
        Simulation simulation(plan_options.profile, ranks_per_node);
        for (std::int64_t rank = 0; rank < ranks; ++rank) {
            if (mesh.leader(rank) != rank) { continue; }
            simulation.add(plan_parameters(catalog, parameters, plan_options, rank, facts));
        }
        loads.push_back(simulation.result());
    }
    fmt::print("{}", options.as_json ? simulation_json(plan_options.profile, loads)
                                     : simulation_table(plan_options.profile, loads));
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
    if (!options.simulated_ranks.empty()) { return simulate(options, catalog, architecture, facts); }
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
