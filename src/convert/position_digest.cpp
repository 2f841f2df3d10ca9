#include "convert/position_digest.hpp"

#include <cstring>

namespace shardwise {
namespace {

inline std::uint64_t mix(std::uint64_t position, std::uint64_t value) noexcept {
    std::uint64_t x = (position + 1) * 0x9E3779B97F4A7C15ULL ^ value * 0xC2B2AE3D27D4EB4FULL;
    x ^= x >> 33U;
    x *= 0xFF51AFD7ED558CCDULL;
    x ^= x >> 33U;
    x *= 0xC4CEB9FE1A85EC53ULL;
    x ^= x >> 33U;
    return x;
}

template <class Unit>
std::uint64_t sum_units(std::span<std::byte const> bytes, std::uint64_t first_position) noexcept {
    std::uint64_t sum = 0;
    std::size_t const count = bytes.size() / sizeof(Unit);
    for (std::size_t i = 0; i < count; ++i) {
        Unit value;
        std::memcpy(&value, bytes.data() + i * sizeof(Unit), sizeof(Unit));
        sum += mix(first_position + i, value);
    }
    return sum;
}

}  // namespace

std::uint64_t position_digest(std::span<std::byte const> bytes, std::size_t unit_bytes,
                              std::uint64_t first_position) noexcept {
    switch (unit_bytes) {
        case 2: return sum_units<std::uint16_t>(bytes, first_position);
        case 4: return sum_units<std::uint32_t>(bytes, first_position);
        case 8: return sum_units<std::uint64_t>(bytes, first_position);
        default: return sum_units<std::uint8_t>(bytes, first_position);
    }
}

}  // namespace shardwise
