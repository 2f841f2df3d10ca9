#include "convert/position_digest.hpp"

#include <cstring>

#include "convert/position_mix.hpp"

namespace shardwise {
namespace {

template <class Unit>
std::uint64_t sum_units(std::span<std::byte const> bytes, std::uint64_t first_position) noexcept {
    std::uint64_t sum = 0;
    std::size_t const count = bytes.size() / sizeof(Unit);
    for (std::size_t i = 0; i < count; ++i) {
        Unit value;
        std::memcpy(&value, bytes.data() + i * sizeof(Unit), sizeof(Unit));
        sum += position_mix(first_position + i, value);
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
