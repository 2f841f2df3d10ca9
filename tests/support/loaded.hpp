/// @file
/// Small models of known architectures, loaded as a program does it.
#pragma once

#include <optional>

#include <shardwise/shardwise.hpp>

#include "comm/communicator.hpp"
#include "support/loading.hpp"

namespace shardwise::test {

using Maker = TestModel (*)(std::string const&, Mesh const&);
inline constexpr std::pair<char const*, Maker> kModels[] = {
    {"llama", small_llama}, {"phi3", small_phi3}, {"mixtral", small_mixtral}};

/// A model on disk, opened, planned and loaded (collective).
struct Loaded {
    /// @param backend makes what the load runs on; none: as the plan says.
    Loaded(Context& context, Maker make, PlanOptions const& plan_options,
           std::function<std::unique_ptr<LoadBackend>(Communicator&)> const& backend = {})
        : model(make(shared_folder("small"), plan_options.mesh)), options(plan_options) {
        together(context.communicator(), [&] {
            if (context.rank() == 0) { model.write(); }
        });
        catalog.emplace(Catalog::open(model.catalog().root(), context));
        architecture.emplace(Architecture::for_config(catalog->config_json()));
        plan = make_plan(*catalog, *architecture, options, context.rank(), probe_files(*catalog, context));
        if (!backend) {
            store = spawn_tp_materialize(plan, context).wait();
            return;
        }
        Materialization::Engine engine(plan, context, {}, [&] { return backend(context.communicator()); });
        store = engine.wait();
    }

    TestModel model;
    PlanOptions options;
    std::optional<Catalog> catalog;
    std::optional<Architecture> architecture;
    Plan plan;
    ParameterStore store;
};

inline PlanOptions options_for(Mesh const& mesh) {
    PlanOptions options;
    options.mesh = mesh;
    options.staging_bytes = 1ULL << 20U;
    options.strategy = StrategyChoice::cooperative;
    return options;
}

}  // namespace shardwise::test
