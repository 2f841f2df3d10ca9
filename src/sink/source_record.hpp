/// @file
/// What the manifest keeps of the checkpoint that was loaded, so that rank files can be turned back into it.
#pragma once

#include <string>

#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/plan.hpp>

#include "util/json_reader.hpp"

namespace shardwise {

/// Self-contained: the rules are kept as text, because those of a later version may say something else.
struct SourceRecord {
    Catalog catalog;                ///< paths are plain names; tensors lie one after the other, as in the files
    std::string architecture;       ///< as Architecture::describe
    PlanOptions options;            ///< what decides about parameters is set
    std::string parameters_digest;  ///< of what the rules made of the catalog
};

/// @throws Error as map_parameters.
SourceRecord record_source(Catalog const& catalog, Architecture const& architecture, PlanOptions const& options);

/// As JSON on one line.
std::string source_json(SourceRecord const& source);

/// @throws Error input naming the key and what was expected.
SourceRecord read_source(JsonReader const& json);

/// A name of a file in the manifest's own folder.
/// @throws Error input for one that leads elsewhere.
std::string read_file_name(JsonReader const& json);

}  // namespace shardwise
