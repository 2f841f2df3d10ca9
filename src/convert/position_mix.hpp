/// @file
/// What one unit adds to a position_digest(); the same on the host and in kernels.
#pragma once

#include <cstdint>

#include "convert/host_device.hpp"

namespace shardwise {

/// mix(position, value) of position_digest.hpp.
SHARDWISE_HOST_DEVICE std::uint64_t position_mix(std::uint64_t position, std::uint64_t value) noexcept {
    std::uint64_t x = ((position + 1) * 0x9E3779B97F4A7C15ULL) ^ (value * 0xC2B2AE3D27D4EB4FULL);
    x ^= x >> 33U;
    x *= 0xFF51AFD7ED558CCDULL;
    x ^= x >> 33U;
    x *= 0xC4CEB9FE1A85EC53ULL;
    x ^= x >> 33U;
    return x;
}

}  // namespace shardwise
