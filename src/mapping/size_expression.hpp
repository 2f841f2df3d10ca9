/// @file
/// Sizes computed from config.json, written as arithmetic over its field names.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace shardwise {

/// Value of @p text: whole numbers, names (which may have dots in them), + - * / and parentheses; a division must come
/// out even, % gives what is left of one. == and != between two sums, and `number in list`, give 1 or 0.
///
/// Example: "num_attention_heads * head_dim" with 32 and 64 -> 2048.
/// @param value_of gives the value of a name, or throws.
/// @param contains tells whether a list by its name has a number in it; without it there is no `in`.
/// @throws Error input naming @p text for a syntax error, an uneven division or an overflow.
std::int64_t evaluate_size(std::string_view text, std::function<std::int64_t(std::string const&)> const& value_of,
                           std::function<bool(std::string const&, std::int64_t)> const& contains = {});

}  // namespace shardwise
