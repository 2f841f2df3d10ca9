/// @file
/// Everything: open a catalog, load an architecture, make a plan, carry it out.
///
/// @code
/// auto context = shardwise::Context::world();
/// auto catalog = shardwise::Catalog::open("/models/llama", context);
/// auto architecture = shardwise::Architecture::for_config(catalog.config_json());
/// shardwise::PlanOptions options{.mesh = {.dp = 1, .tp = context.size()}};
/// auto facts = shardwise::probe_files(catalog, context);
/// auto plan = shardwise::make_plan(catalog, architecture, options, context.rank(), facts);
/// auto load = shardwise::spawn_tp_materialize(plan, context);
/// while (auto tensor = load.next()) { use(tensor->info->name, tensor->bytes); }
/// auto store = load.wait();
/// @endcode
#pragma once

#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/context.hpp>
#include <shardwise/error.hpp>
#include <shardwise/materialize.hpp>
#include <shardwise/plan.hpp>
#include <shardwise/profile.hpp>
