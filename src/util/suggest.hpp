/// @file
/// "Did you mean": the known word nearest to a misspelt one.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace shardwise {

/// The candidate with the fewest edits (insert, delete, replace, swap of neighbours) from @p word, the first one on a
/// tie; empty if more than a third of the word would have to change.
std::string nearest(std::string_view word, std::span<std::string const> candidates);

}  // namespace shardwise
