/// @file
/// Whether two parties mean the same parameters.
#pragma once

#include <span>
#include <string>

#include "mapping/parameters.hpp"
#include "util/digest.hpp"

namespace shardwise {

/// Adds everything a parameter is: name, where every element comes from, and how it is cut.
void add_parameter(Digest& digest, Parameter const& parameter);

/// Digest of all of them in order; 32 hexadecimal digits.
std::string digest_of(std::span<Parameter const> parameters);

}  // namespace shardwise
