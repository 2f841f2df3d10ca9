/// @file
/// What copying out of the page cache costs, counted in bytes that are copied into place in the same time. The figures
/// were measured (bench/NOTES.md); only their ratios matter.
#pragma once

#include <cstdint>
#include <span>

#include "plan/copy_block.hpp"

namespace shardwise {

/// A system call takes about as long as copying this many bytes.
inline constexpr std::uint64_t kCallBytes = 4096;

/// One call brings many runs into place, each of its own, and what lies between them into memory that nobody reads and
/// that stays in the core's cache. Gaps up to this are passed over so; longer ones cost more than a call.
inline constexpr std::uint64_t kScatteredGap = 8192;

/// Runs of a file that are read straight into place.
struct ScatteredRuns {
    std::uint64_t calls = 0;
    std::uint64_t runs = 0;
    std::uint64_t used_bytes = 0;
    std::uint64_t read_bytes = 0;  ///< with the gaps that are passed over

    void add(CopyBlock const& block) noexcept {
        auto const estimate = estimate_ranges(block, kScatteredGap);
        calls += estimate.ranges;
        runs += block.runs();
        used_bytes += block.bytes();
        read_bytes += estimate.bytes;
    }

    std::uint64_t cost() const noexcept {
        constexpr std::uint64_t kRunBytes = 256;
        return used_bytes + (read_bytes - used_bytes) * 2 / 5 + calls * kCallBytes + runs * kRunBytes;
    }
};

inline ScatteredRuns scattered(std::span<CopyBlock const> blocks) noexcept {
    ScatteredRuns sum;
    for (auto const& block : blocks) { sum.add(block); }
    return sum;
}

/// The other way: everything into room that stays in the core's cache, and from there into place.
inline constexpr std::uint64_t kCachedRequest = 256ULL << 10U;
constexpr std::uint64_t room_cost(std::uint64_t used_bytes, std::uint64_t read_bytes) noexcept {
    return used_bytes / 2 + read_bytes * 2 / 3;
}

}  // namespace shardwise
