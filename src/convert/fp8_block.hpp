/// @file
/// How a block of numbers is quantized to F8_E4M3 and one scale; the same on the host and in kernels, bit for bit.
#pragma once

#include <bit>
#include <cstdint>

#include "convert/element.hpp"
#include "convert/host_device.hpp"

namespace shardwise {

/// A matrix to be quantized to F8_E4M3. Blocks divide it.
struct QuantizeShape {
    std::uint64_t rows = 0;
    std::uint64_t columns = 0;
    std::uint64_t block_rows = 0;
    std::uint64_t block_columns = 0;

    std::uint64_t blocks() const noexcept { return rows / block_rows * (columns / block_columns); }
};

/// How the scales that come with the codes are stored.
enum class ScaleFormat : std::uint8_t {
    f32,   ///< 1 / (448 / greatest absolute value of the block)
    e8m0,  ///< that, rounded up to a power of two, as F8_E8M0
};

inline constexpr float kGreatestCode = 448;  ///< of F8_E4M3

/// What a block is multiplied by, and the inverse of that, which is stored.
struct BlockFactor {
    float scale = 1;
    float inverse = 1;
};

/// The bits of the absolute value, which are ordered as the numbers are; 0 for a NaN, which counts for nothing.
SHARDWISE_HOST_DEVICE std::uint32_t magnitude_bits(float value) {
    auto const magnitude = std::bit_cast<std::uint32_t>(value) & ~kSign;
    return select(less(kInfinity, magnitude), 0, magnitude);
}

/// 2^exponent for exponents in [-127, 127].
SHARDWISE_HOST_DEVICE float power_of_two(int exponent) {
    return std::bit_cast<float>(exponent == -127 ? 1U << 22U : exponent_of_two(exponent));
}

/// The exponent of the least power of two in [2^-127, 2^127] that is not below @p value, which is positive or 0.
SHARDWISE_HOST_DEVICE int exponent_above(float value) {
    auto const bits = std::bit_cast<std::uint32_t>(value);
    if (bits <= 1U << 22U) { return -127; }
    if (bits > exponent_of_two(127)) { return 127; }
    return static_cast<int>((bits + 0x7FFFFFU) >> 23U) - 127;
}

/// The factor of a block whose greatest absolute value is @p greatest.
SHARDWISE_HOST_DEVICE BlockFactor block_factor(float greatest, ScaleFormat format) {
    auto const scale = greatest > 0 ? kGreatestCode / greatest : 1.0F;
    auto const inverse = 1.0F / scale;
    if (format == ScaleFormat::f32) { return {scale, inverse}; }
    auto const exponent = exponent_above(inverse);
    return {power_of_two(-exponent), power_of_two(exponent)};
}

/// @p value times @p scale, in the range of the codes. A NaN stays one, and an infinity that the scale makes nothing of
/// (it is 0 beside one) becomes one; either with the sign of the value.
SHARDWISE_HOST_DEVICE float scaled_into_range(float value, float scale) {
    auto const product = value * scale;
    auto const below = product > kGreatestCode ? kGreatestCode : product;
    auto const clamped = std::bit_cast<std::uint32_t>(below < -kGreatestCode ? -kGreatestCode : below);
    auto const nan = (std::bit_cast<std::uint32_t>(value) & kSign) | kQuietNan;
    return std::bit_cast<float>(select(less(kInfinity, clamped & ~kSign), nan, clamped));
}

}  // namespace shardwise
