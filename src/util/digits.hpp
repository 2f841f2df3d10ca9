/// @file
/// Decimal digits in names, whatever the locale says.
#pragma once

#include <algorithm>
#include <string_view>

namespace shardwise {

constexpr bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

/// Digits only, one at least.
constexpr bool is_number(std::string_view text) noexcept {
    return !text.empty() && std::ranges::all_of(text, is_digit);
}

constexpr bool has_digit(std::string_view text) noexcept {
    return std::ranges::any_of(text, is_digit);
}

}  // namespace shardwise
