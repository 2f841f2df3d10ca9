/// @file
/// An accelerator to measure on: copies to and fro, and bytes to copy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "device/accelerator.hpp"

namespace shardwise::bench {

using Bytes = std::vector<std::byte>;

struct Desk {
    Accelerator& accelerator;
    Stream& stream;
    std::uint64_t source_bytes;  ///< that a case works on, about

    void write(std::span<std::byte const> bytes, Memory const& memory) const {
        auto const pinned = accelerator.allocate_pinned(bytes.size());
        std::memcpy(pinned.bytes().data(), bytes.data(), bytes.size());
        stream.copy(pinned.bytes(), memory.bytes().data());
        finish(stream);
    }

    Memory upload(std::span<std::byte const> bytes) const {
        auto memory = accelerator.allocate(bytes.size());
        write(bytes, memory);
        return memory;
    }

    Bytes download(std::span<std::byte const> bytes) const {
        auto const pinned = accelerator.allocate_pinned(bytes.size());
        stream.copy(bytes, pinned.bytes().data());
        finish(stream);
        return {pinned.bytes().begin(), pinned.bytes().end()};
    }
};

/// No two stretches of it are the same.
inline Bytes any_bytes(std::uint64_t bytes) {
    std::mt19937_64 random(2);
    Bytes result(bytes);
    for (std::uint64_t at = 0; at < bytes; at += 8) {
        auto const word = random();
        std::memcpy(result.data() + at, &word, std::min<std::uint64_t>(sizeof(word), bytes - at));
    }
    return result;
}

}  // namespace shardwise::bench
