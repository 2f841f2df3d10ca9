/// @file
/// Floating-point numbers from one type to another. One contract, two host versions: the reference is tested against
/// values made by hand and by ml_dtypes, the fast one against the reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <shardwise/dtype.hpp>

namespace shardwise {

/// Whether cast() knows how: from any floating-point type, to any of at least 8 bits.
bool can_cast(DType from, DType to) noexcept;

/// @throws Error input if it does not.
void check_cast(DType from, DType to);

/// Converts the elements of @p source, whole bytes of packed ones, into as many at @p target. Rounds to nearest, ties
/// to even; F64 is rounded to F32 first, as PyTorch does. What is out of range becomes infinity, in types without
/// infinities NaN (F8_E4M3 from beyond 464 on, as in PyTorch: nothing saturates). Every NaN becomes the target's quiet
/// NaN with its sign. F8_E8M0 takes powers of two: zero and negative numbers become NaN. Spans need no alignment.
/// @throws Error input if can_cast() is false.
void cast(DType from, std::span<std::byte const> source, DType to, std::span<std::byte> target);
void cast_reference(DType from, std::span<std::byte const> source, DType to, std::span<std::byte> target);

/// The two halves of cast(): elements as F32, and F32 as elements.
void decode(DType from, std::span<std::byte const> source, std::span<float> values);
void encode(std::span<float const> values, DType to, std::span<std::byte> target);

/// Number and code of one element.
float decode_reference(DType from, std::uint64_t code);
std::uint64_t encode_reference(float value, DType to);

/// Elements in @p bytes bytes.
inline std::size_t elements_in(DType dtype, std::size_t bytes) noexcept {
    return bytes * 8 / static_cast<std::size_t>(bits(dtype));
}

}  // namespace shardwise
