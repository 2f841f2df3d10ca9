/// @file
/// One element from one type to another, as the bits of an F32 between the two: without branches, so that loops over
/// them are vectorised, and the same on the host and in kernels, bit for bit.
#pragma once

#include <bit>
#include <cstdint>

#include "convert/float_format.hpp"
#include "convert/host_device.hpp"

namespace shardwise {

inline constexpr std::uint32_t kSign = 0x80000000U;
inline constexpr std::uint32_t kInfinity = 0x7F800000U;
inline constexpr std::uint32_t kQuietNan = 0x7FC00000U;

/// @p chosen if @p condition holds, else @p other; without a branch, which would keep a loop from being vectorised.
SHARDWISE_HOST_DEVICE std::uint32_t select(bool condition, std::uint32_t chosen, std::uint32_t other) noexcept {
    auto const mask = 0U - static_cast<std::uint32_t>(condition);
    return (chosen & mask) | (other & ~mask);
}

SHARDWISE_HOST_DEVICE constexpr std::uint32_t exponent_of_two(int exponent) {
    return static_cast<std::uint32_t>(exponent + 127) << 23U;
}

/// a < b for numbers below 2^31: vector instructions compare signed numbers.
SHARDWISE_HOST_DEVICE bool less(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::int32_t>(a) < static_cast<std::int32_t>(b);
}

/// A code of at most 16 bits as the bits of an F32.
template <FloatFormat format>
SHARDWISE_HOST_DEVICE std::uint32_t widen(std::uint32_t code) {
    constexpr auto kShift = static_cast<unsigned>(23 - format.mantissa_bits);
    constexpr auto kSignShift = static_cast<unsigned>(format.sign_shift());
    constexpr auto kOverflow = static_cast<std::uint32_t>(format.overflow_code());
    auto const magnitude = code & ((1U << kSignShift) - 1);
    auto const sign = (code >> kSignShift) << 31U;
    std::uint32_t bits = magnitude << kShift;
    if constexpr (format.bias != 127) {
        // Subnormal: the mantissa is put under an exponent that makes its last bit worth what it is, then the leading
        // one goes away again, in exact arithmetic.
        constexpr auto kLeast = exponent_of_two(1 - format.bias);
        auto const subnormal = std::bit_cast<float>(bits + kLeast) - std::bit_cast<float>(kLeast);
        auto const normal = bits + exponent_of_two(-format.bias);
        bits = select(magnitude < (1U << static_cast<unsigned>(format.mantissa_bits)),
                      std::bit_cast<std::uint32_t>(subnormal), normal);
    }
    if constexpr (format.specials == Specials::ieee) {
        bits = select(magnitude == kOverflow, kInfinity, bits);
        bits = select(less(kOverflow, magnitude), kQuietNan, bits);
    } else if constexpr (format.specials == Specials::nan_all_ones) {
        bits = select(magnitude == kOverflow, kQuietNan, bits);
    } else if constexpr (format.specials == Specials::negative_zero) {
        return select(code == kOverflow, kQuietNan, bits | sign);
    }
    return bits | sign;
}

/// The bits of an F32 as a code of at most 16 bits.
template <FloatFormat format>
SHARDWISE_HOST_DEVICE std::uint32_t narrow(std::uint32_t bits) {
    constexpr auto kShift = static_cast<unsigned>(23 - format.mantissa_bits);
    constexpr auto kOverflow = static_cast<std::uint32_t>(format.overflow_code());
    constexpr auto kNan = static_cast<std::uint32_t>(format.nan_code());
    auto const magnitude = bits & ~kSign;
    auto const sign = (bits >> 31U) << static_cast<unsigned>(format.sign_shift());
    auto const rounded = magnitude + ((1U << (kShift - 1)) - 1) + (magnitude >> kShift & 1U);
    std::uint32_t code = rounded >> kShift;
    if constexpr (format.bias != 127) {
        // Subnormal: the sum with a power of two whose last bit is worth the target's last bit rounds as it must.
        constexpr auto kMagic = exponent_of_two(1 - format.bias + static_cast<int>(kShift));
        auto const sum = std::bit_cast<float>(magnitude) + std::bit_cast<float>(kMagic);
        auto const subnormal = std::bit_cast<std::uint32_t>(sum) - kMagic;
        code -= static_cast<std::uint32_t>(127 - format.bias) << static_cast<unsigned>(format.mantissa_bits);
        code = select(less(magnitude, exponent_of_two(1 - format.bias)), subnormal, code);
    }
    code = select(less(kOverflow, code), kOverflow, code);
    code = select(less(kInfinity, magnitude), kNan, code);
    if constexpr (format.specials == Specials::negative_zero) {
        return code | select(code - 1 < kOverflow - 1, sign, 0);  // neither 0 nor NaN has one
    }
    return code | sign;
}

/// The bits of an F32; every NaN becomes the quiet one with its sign.
SHARDWISE_HOST_DEVICE std::uint32_t canonical(std::uint32_t bits) {
    return select(less(kInfinity, bits & ~kSign), (bits & kSign) | kQuietNan, bits);
}

/// The bits of an F64 rounded to F32. Processors differ in what they make of a NaN, hence by hand.
SHARDWISE_HOST_DEVICE std::uint32_t narrow_f64(std::uint64_t bits) {
    auto const high = static_cast<std::uint32_t>(bits >> 32U);
    auto const number = std::bit_cast<std::uint32_t>(static_cast<float>(std::bit_cast<double>(bits)));
    bool const is_nan = (bits << 1U) > 0xFFE0000000000000U;
    return select(is_nan, (high & kSign) | kQuietNan, number);
}

/// The bits of an F32 as those of an F64.
SHARDWISE_HOST_DEVICE std::uint64_t widen_f64(std::uint32_t bits) {
    auto const number = std::bit_cast<std::uint64_t>(static_cast<double>(std::bit_cast<float>(bits)));
    auto const nan = std::uint64_t{(bits & kSign) | 0x7FF80000U} << 32U;
    return less(kInfinity, bits & ~kSign) ? nan : number;
}

SHARDWISE_HOST_DEVICE std::uint32_t widen_e8m0(std::uint32_t code) {
    return select(code == 0xFF, kQuietNan, select(code == 0, 1U << 22U, code << 23U));
}

SHARDWISE_HOST_DEVICE std::uint32_t narrow_e8m0(std::uint32_t bits) {
    auto const subnormal = bits > 1U << 22U ? 1U : 0U;
    auto const code = select(bits < exponent_of_two(-126), subnormal, (bits + (1U << 22U)) >> 23U);
    return select(bits - 1 >= kInfinity - 1, 0xFFU, code);  // zero; infinity, NaN, and everything with a sign
}

/// Code times scale as F32. A NaN of either, or of the product, becomes the positive one.
SHARDWISE_HOST_DEVICE float scaled(float code, float scale) {
    auto const product = std::bit_cast<std::uint32_t>(code * scale);
    return std::bit_cast<float>(select(less(kInfinity, product & ~kSign), kQuietNan, product));
}

}  // namespace shardwise
