/// @file
/// Long lists of names in few words.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace shardwise {

/// Names that differ only in segments that are whole numbers, written as one with the sets of their numbers; exactly
/// these names, no others. In the order in which the first name of each group comes. Up to ten numbers are listed, more
/// are written as ranges.
///
/// Example: layers.0.w, layers.1.w, norm.w -> "layers.{0, 1}.w", "norm.w"; forty layers -> "layers.{0...39}.w".
std::vector<std::string> compress_names(std::span<std::string const> names);

}  // namespace shardwise
