/// @file
/// Arithmetic on numbers that come from files: every overflow is an error, never a wrapped value.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>

namespace shardwise {

/// a * b, or nothing when it does not fit.
constexpr std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) noexcept {
    std::uint64_t result = 0;
    if (__builtin_mul_overflow(a, b, &result)) { return std::nullopt; }
    return result;
}

/// a + b, or nothing when it does not fit.
constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) noexcept {
    std::uint64_t result = 0;
    if (__builtin_add_overflow(a, b, &result)) { return std::nullopt; }
    return result;
}

/// ceil(a / b) for a >= 0, b > 0. Example: ceil_div(5, 3) is 2.
template <class T>
constexpr T ceil_div(T a, T b) noexcept {
    return a / b + (a % b != 0 ? T{1} : T{0});
}

/// The greatest multiple of @p alignment (a power of two) that is not above @p value.
constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t alignment) noexcept {
    return value & ~(alignment - 1);
}

/// The least multiple of @p alignment (a power of two) that is not below @p value; value + alignment must fit.
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) noexcept {
    return align_down(value + alignment - 1, alignment);
}

}  // namespace shardwise
