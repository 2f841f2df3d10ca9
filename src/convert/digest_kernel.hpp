/// @file
/// The kernel that sums up digests over a list of descriptors.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "convert/grid_access.hpp"
#include "convert/grid_block.hpp"
#include "convert/grid_kernel.hpp"
#include "convert/position_mix.hpp"

namespace shardwise {
namespace detail {

SHARDWISE_HOST_DEVICE void add_atomically(std::uint64_t* sum, std::uint64_t value) {
#ifdef __CUDA_ARCH__
    atomicAdd(reinterpret_cast<unsigned long long*>(sum), static_cast<unsigned long long>(value));
#else
    std::atomic_ref(*sum).fetch_add(value, std::memory_order_relaxed);
#endif
}

/// Units of a group, the first of which has @p position.
template <std::uint32_t Bytes, std::uint32_t UnitBytes>
SHARDWISE_HOST_DEVICE std::uint64_t digest_of(Words<Bytes> const& words, std::uint64_t position) {
    std::uint64_t sum = 0;
    SHARDWISE_UNROLL
    for (std::uint32_t i = 0; i < Bytes / UnitBytes; ++i) {
        auto const bit = i * UnitBytes * 8;
        std::uint64_t value = words.word[bit / 32];
        if constexpr (UnitBytes < 4) { value = value >> bit % 32 & ((1U << UnitBytes * 8) - 1); }
        if constexpr (UnitBytes == 8) { value |= std::uint64_t{words.word[bit / 32 + 1]} << 32U; }
        sum += position_mix(position + i, value);
    }
    return sum;
}

/// What a thread's groups of a tile add, Bytes in a group.
template <std::uint32_t Bytes, std::uint32_t UnitBytes>
SHARDWISE_KERNEL_PART std::uint64_t digest_groups(GridBlock const& block, GridThread at) {
    constexpr auto kFlight = groups_in_flight(GridWork::digest, Bytes / UnitBytes);
    auto const begin = (at.block - block.first_tile) * tile_groups(GridWork::digest, Bytes / UnitBytes) + at.thread;
    std::uint64_t sum = 0;
    for (std::uint32_t round = 0; round < kGridRounds; ++round) {
        auto const first = begin + round * kFlight * kGridThreads;
        if (first >= block.groups) { break; }
        std::byte const* source[kFlight];
        std::uint64_t position[kFlight];
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < kFlight; ++i) {
            auto const index = first + i * kGridThreads;
            auto const spot = spot_of<kGridLoops>(block, index < block.groups ? index : first);
            source[i] = block.source + spot.source;
            position[i] = block.element + spot.element;
        }
        Words<Bytes> words[kFlight];
        load_words(source, block.source_access, words);
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < kFlight; ++i) {
            auto const digest = digest_of<Bytes, UnitBytes>(words[i], position[i]);
            sum += first + i * kGridThreads < block.groups ? digest : 0;
        }
    }
    return sum;
}

template <std::uint32_t UnitBytes>
SHARDWISE_HOST_DEVICE std::uint64_t digest_units(GridBlock const& block, GridThread at) {
    return block.group == 1 ? digest_groups<UnitBytes, UnitBytes>(block, at) : digest_groups<16, UnitBytes>(block, at);
}

}  // namespace detail

/// Adds the digest of every tile of a list to its sum; a thread block has one.
struct DigestKernel {
    static constexpr std::uint32_t kPartialSums = 16;
    struct Shared {
        std::uint64_t sums[kGridThreads];
        std::uint64_t partial_sums[kPartialSums];
        std::uint32_t block;
    };
    static constexpr std::uint32_t kPhases = 4;
    static constexpr std::uint32_t kBlocksPerProcessor = 4;

    GridBlock const* blocks;
    GridSize size;
    std::uint64_t* sums;

    SHARDWISE_HOST_DEVICE void operator()(Phase<0>, GridThread at, Shared& shared) const {
        if (at.thread == 0) { shared.block = block_of_tile(blocks, size.blocks, at.block); }
    }

    SHARDWISE_HOST_DEVICE void operator()(Phase<1>, GridThread at, Shared& shared) const {
        auto const& block = blocks[shared.block];
        shared.sums[at.thread] = digest(block, at);
    }

    SHARDWISE_HOST_DEVICE void operator()(Phase<2>, GridThread at, Shared& shared) const {
        if (at.thread >= kPartialSums) { return; }
        std::uint64_t sum = 0;
        for (auto i = at.thread; i < kGridThreads; i += kPartialSums) { sum += shared.sums[i]; }
        shared.partial_sums[at.thread] = sum;
    }

    SHARDWISE_HOST_DEVICE void operator()(Phase<3>, GridThread at, Shared& shared) const {
        if (at.thread != 0) { return; }
        std::uint64_t sum = 0;
        for (std::uint32_t i = 0; i < kPartialSums; ++i) { sum += shared.partial_sums[i]; }
        detail::add_atomically(sums + blocks[shared.block].result, sum);
    }

   private:
    SHARDWISE_HOST_DEVICE static std::uint64_t digest(GridBlock const& block, GridThread at) {
        switch (block.unit_bytes) {
            case 1: return detail::digest_units<1>(block, at);
            case 2: return detail::digest_units<2>(block, at);
            case 4: return detail::digest_units<4>(block, at);
            default: return detail::digest_units<8>(block, at);
        }
    }
};

}  // namespace shardwise
