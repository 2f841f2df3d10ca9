/// @file
/// Plans and catalogs for people and for scripts.
#pragma once

#include <span>
#include <string>

#include <shardwise/catalog.hpp>
#include <shardwise/plan.hpp>

namespace shardwise {

/// A summary of the plans of all ranks (in order), or of some.
std::string plan_table(std::span<Plan const> plans);

/// Totals of each plan; with @p with_parts every tensor, read, wave and piece, too. Schema shardwise.plan/1.
std::string plan_json(std::span<Plan const> plans, bool with_parts);

/// Files, totals by type, and every tensor.
std::string catalog_table(Catalog const& catalog);

/// Schema shardwise.catalog/1.
std::string catalog_json(Catalog const& catalog);

}  // namespace shardwise
