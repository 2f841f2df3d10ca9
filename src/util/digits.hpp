/// @file
/// Decimal digits in names, whatever the locale says.
#pragma once

#include <algorithm>
#include <string_view>

namespace shardwise {

constexpr bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

constexpr bool has_digit(std::string_view text) noexcept {
    return std::ranges::any_of(text, is_digit);
}

}  // namespace shardwise
