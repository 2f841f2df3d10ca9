/// @file
/// Operations of a converter as configs/*.json write them. Keys are explained in configs/schema.json.
#pragma once

#include <string>
#include <vector>

#include "mapping/operation.hpp"
#include "util/json_reader.hpp"

namespace shardwise {

/// @throws Error input naming file, key and what was expected.
Operation parse_operation(JsonReader const& op);

/// The dimension under @p key, or @p fallback.
std::size_t parse_dim(JsonReader const& object, std::string const& key, std::size_t fallback);

/// Whether the flag under @p key is set; not if it is left out.
bool parse_flag(JsonReader const& object, std::string const& key);

/// The texts under @p key; none if it is left out.
std::vector<std::string> optional_texts(JsonReader const& object, std::string const& key);

}  // namespace shardwise
