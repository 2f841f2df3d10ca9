/// @file
/// Numbers that tie completions to what they complete.
#pragma once

#include <cstdint>

namespace shardwise {

/// What a read or copy was for, packed into one number.
struct WorkId {
    enum class Kind : std::uint8_t { direct, wave };

    Kind kind = Kind::direct;
    std::uint32_t wave = 0;   ///< wave: which one
    std::uint32_t index = 0;  ///< direct: which read; wave: which of its reads or receives

    std::uint64_t pack() const noexcept {
        return static_cast<std::uint64_t>(kind) << 63U | static_cast<std::uint64_t>(wave) << 32U | index;
    }
    static WorkId unpack(std::uint64_t id) noexcept {
        return {static_cast<Kind>(id >> 63U), static_cast<std::uint32_t>(id >> 32U & 0x7fffffffU),
                static_cast<std::uint32_t>(id)};
    }
};

}  // namespace shardwise
