/// @file
/// What an export or a conversion wrote, for people.
#pragma once

#include <string>

#include <shardwise/export.hpp>

namespace shardwise {

/// A line of totals, one a file, and one that names what was left out.
/// @param verb "exported" or "converted".
std::string export_table(ExportReport const& report, char const* verb, std::string const& out, double seconds);

}  // namespace shardwise
