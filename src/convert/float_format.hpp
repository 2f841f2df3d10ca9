/// @file
/// How the bits of each floating-point type are read.
#pragma once

#include <cstdint>
#include <optional>

#include <shardwise/dtype.hpp>

namespace shardwise {

/// Which codes are no numbers.
enum class Specials : std::uint8_t {
    ieee,           ///< the greatest exponent: infinities, and NaNs
    nan_all_ones,   ///< only the code of all ones, with either sign; no infinities (E4M3FN)
    negative_zero,  ///< one NaN, in the place of -0; no infinities (FNUZ)
    none,           ///< every code is a number (F4, F6)
};

/// A type with a sign bit, then the exponent, then the mantissa, subnormals included. F8_E8M0 is none: it has neither
/// sign nor zero. Sources: IEEE 754, OCP 8-bit floating point 1.0, OCP microscaling formats 1.0; FNUZ as in ml_dtypes.
struct FloatFormat {
    int exponent_bits = 0;
    int mantissa_bits = 0;
    int bias = 0;
    Specials specials = Specials::ieee;

    constexpr int sign_shift() const noexcept { return exponent_bits + mantissa_bits; }

    /// The code of infinity where there is one, else of what stands for numbers out of range; without the sign.
    constexpr std::uint64_t overflow_code() const noexcept {
        switch (specials) {
            case Specials::ieee: return ((std::uint64_t{1} << exponent_bits) - 1) << mantissa_bits;
            case Specials::negative_zero: return std::uint64_t{1} << sign_shift();
            default: return (std::uint64_t{1} << sign_shift()) - 1;
        }
    }

    /// The one NaN that conversions make, quiet where that means something; without the sign.
    constexpr std::uint64_t nan_code() const noexcept {
        auto const quiet = specials == Specials::ieee ? std::uint64_t{1} << (mantissa_bits - 1) : 0;
        return overflow_code() | quiet;
    }
};

inline constexpr FloatFormat kF64Format = {11, 52, 1023, Specials::ieee};
inline constexpr FloatFormat kF32Format = {8, 23, 127, Specials::ieee};
inline constexpr FloatFormat kF16Format = {5, 10, 15, Specials::ieee};
inline constexpr FloatFormat kBF16Format = {8, 7, 127, Specials::ieee};
inline constexpr FloatFormat kE5M2Format = {5, 2, 15, Specials::ieee};
inline constexpr FloatFormat kE4M3Format = {4, 3, 7, Specials::nan_all_ones};
inline constexpr FloatFormat kE5M2FnuzFormat = {5, 2, 16, Specials::negative_zero};
inline constexpr FloatFormat kE4M3FnuzFormat = {4, 3, 8, Specials::negative_zero};
inline constexpr FloatFormat kE3M2Format = {3, 2, 3, Specials::none};
inline constexpr FloatFormat kE2M3Format = {2, 3, 1, Specials::none};
inline constexpr FloatFormat kE2M1Format = {2, 1, 1, Specials::none};

/// The format of a type; nothing for F8_E8M0 and types that are no floating-point numbers.
constexpr std::optional<FloatFormat> float_format(DType dtype) noexcept {
    switch (dtype) {
        case DType::f64: return kF64Format;
        case DType::f32: return kF32Format;
        case DType::f16: return kF16Format;
        case DType::bf16: return kBF16Format;
        case DType::f8_e5m2: return kE5M2Format;
        case DType::f8_e4m3: return kE4M3Format;
        case DType::f8_e5m2fnuz: return kE5M2FnuzFormat;
        case DType::f8_e4m3fnuz: return kE4M3FnuzFormat;
        case DType::f6_e3m2: return kE3M2Format;
        case DType::f6_e2m3: return kE2M3Format;
        case DType::f4: return kE2M1Format;
        default: return std::nullopt;
    }
}

}  // namespace shardwise
