/// @file
/// Numbers to try casts with.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <shardwise/dtype.hpp>

namespace shardwise::test {

using Bytes = std::vector<std::byte>;

/// What can be cast, and to what.
inline constexpr DType kSources[] = {DType::f64,         DType::f32,     DType::f16,     DType::bf16,
                                     DType::f8_e5m2,     DType::f8_e4m3, DType::f8_e8m0, DType::f8_e5m2fnuz,
                                     DType::f8_e4m3fnuz, DType::f6_e3m2, DType::f6_e2m3, DType::f4};
inline constexpr DType kTargets[] = {DType::f64,     DType::f32,         DType::f16,
                                     DType::bf16,    DType::f8_e5m2,     DType::f8_e4m3,
                                     DType::f8_e8m0, DType::f8_e5m2fnuz, DType::f8_e4m3fnuz};

/// The order of codes in cast_values.inc.
inline constexpr std::array kCastTargets = {DType::f16,         DType::bf16,        DType::f8_e5m2, DType::f8_e4m3,
                                            DType::f8_e5m2fnuz, DType::f8_e4m3fnuz, DType::f8_e8m0};

/// The bits of an F32, and the codes that ml_dtypes makes of it.
struct CastValue {
    std::uint32_t bits;
    std::array<std::uint32_t, kCastTargets.size()> codes;
};
std::span<CastValue const> cast_values();

template <class Value>
Bytes bytes_of(std::vector<Value> const& values) {
    Bytes bytes(values.size() * sizeof(Value));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

/// Elements of @p dtype with every code if it has at most 16 bits, else edges and random bits.
Bytes elements_to_try(DType dtype);

}  // namespace shardwise::test
