#include "convert/position_digest.hpp"

#include <cstring>

#include "convert/position_mix.hpp"
#include "convert/simd.hpp"

namespace shardwise {
namespace {

template <class Unit>
std::uint64_t sum_units(std::span<std::byte const> bytes, std::uint64_t position, std::uint64_t step) noexcept {
    std::uint64_t sum = 0;
    auto const count = bytes.size() / sizeof(Unit);
    vectorised_products([&]() SHARDWISE_INLINE {
        std::uint64_t all = 0;
        for (std::size_t i = 0; i < count; ++i) {
            Unit value;
            std::memcpy(&value, bytes.data() + i * sizeof(Unit), sizeof(Unit));
            all += position_mix(position + i * step, value);
        }
        sum = all;
    });
    return sum;
}

}  // namespace

std::uint64_t position_digest(std::span<std::byte const> bytes, std::size_t unit_bytes, std::uint64_t first_position,
                              std::uint64_t step) noexcept {
    switch (unit_bytes) {
        case 2: return sum_units<std::uint16_t>(bytes, first_position, step);
        case 4: return sum_units<std::uint32_t>(bytes, first_position, step);
        case 8: return sum_units<std::uint64_t>(bytes, first_position, step);
        default: return sum_units<std::uint8_t>(bytes, first_position, step);
    }
}

}  // namespace shardwise
