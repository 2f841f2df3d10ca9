/// @file
/// A digest of tensor content that does not depend on how the tensor is cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace shardwise {

/// The sum over all units of mix(position, value), modulo 2^64. Sums of the parts of a tensor, each with its units'
/// global positions, add up to the sum of the whole, so ranks can compare content without moving it.
///
/// A unit is an element (1, 2, 4 or 8 bytes, little-endian, as an unsigned number; types below a byte: a byte of the
/// packed tensor). mix(p, v) = f((p + 1) * 0x9E3779B97F4A7C15 ^ v * 0xC2B2AE3D27D4EB4F) with all products modulo 2^64
/// and f the 64-bit finalizer of MurmurHash3: x ^= x >> 33; x *= 0xFF51AFD7ED558CCD; x ^= x >> 33; x *=
/// 0xC4CEB9FE1A85EC53; x ^= x >> 33.
///
/// @param bytes whole units; @param unit_bytes 1, 2, 4 or 8; @param first_position position of the first unit;
///        @param step from the position of a unit to that of the next one.
std::uint64_t position_digest(std::span<std::byte const> bytes, std::size_t unit_bytes, std::uint64_t first_position,
                              std::uint64_t step = 1) noexcept;

}  // namespace shardwise
