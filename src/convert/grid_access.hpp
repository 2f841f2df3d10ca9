/// @file
/// How kernels reach memory: accesses as wide as the alignment allows, one word or four at a time, and where the groups
/// of a descriptor lie.
#pragma once

#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "convert/grid_block.hpp"
#include "convert/host_device.hpp"

namespace shardwise {

/// What one instruction moves at most.
struct alignas(16) FourWords {
    std::uint32_t word[4];
};
struct alignas(8) TwoWords {
    std::uint32_t word[2];
};

/// The memory that an address is of. Out of a descriptor it could be of any, and a GPU finds out at each access.
enum class Space : std::uint8_t {
    global,
    shared,  ///< by a thread block
};

template <Space space>
SHARDWISE_HOST_DEVICE void assume_space([[maybe_unused]] std::byte const* at) {
#ifdef __CUDA_ARCH__
    if constexpr (space == Space::global) {
        __builtin_assume(__isGlobal(at));
    } else {
        __builtin_assume(__isShared(at));
    }
#endif
}

/// @p at must be a multiple of the type's alignment: a GPU knows no other loads and stores.
template <class Unit, Space space = Space::global>
SHARDWISE_HOST_DEVICE Unit load(std::byte const* at) {
    assume_space<space>(at);
#ifdef __CUDA_ARCH__
    return *reinterpret_cast<Unit const*>(at);
#else
    assert(reinterpret_cast<std::uintptr_t>(at) % alignof(Unit) == 0);
    Unit unit;
    std::memcpy(&unit, at, sizeof(Unit));
    return unit;
#endif
}

template <Space space, class Unit>
SHARDWISE_HOST_DEVICE void store(std::byte* at, Unit const& unit) {
    assume_space<space>(at);
#ifdef __CUDA_ARCH__
    *reinterpret_cast<Unit*>(at) = unit;
#else
    assert(reinterpret_cast<std::uintptr_t>(at) % alignof(Unit) == 0);
    std::memcpy(at, &unit, sizeof(Unit));
#endif
}

/// Bytes in words, the lowest bits first.
template <std::uint32_t Bytes>
struct Words {
    static constexpr std::uint32_t kCount = (Bytes + 3) / 4;
    std::uint32_t word[kCount];
};

namespace detail {

template <std::uint32_t Bytes, class Unit, Space space>
SHARDWISE_HOST_DEVICE Words<Bytes> load_by(std::byte const* at) {
    Words<Bytes> words = {};
    if constexpr (sizeof(Unit) <= 4) {
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Bytes / sizeof(Unit); ++i) {
            auto const bit = i * static_cast<std::uint32_t>(sizeof(Unit)) * 8;
            words.word[bit / 32] |= std::uint32_t{load<Unit, space>(at + i * sizeof(Unit))} << bit % 32;
        }
    } else {
        constexpr std::uint32_t kUnitWords = sizeof(Unit) / 4;
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Bytes / sizeof(Unit); ++i) {
            auto const unit = load<Unit, space>(at + i * sizeof(Unit));
            SHARDWISE_UNROLL
            for (std::uint32_t k = 0; k < kUnitWords; ++k) { words.word[i * kUnitWords + k] = unit.word[k]; }
        }
    }
    return words;
}

template <std::uint32_t Bytes, class Unit, Space space>
SHARDWISE_HOST_DEVICE void store_by(std::byte* at, Words<Bytes> const& words) {
    if constexpr (sizeof(Unit) <= 4) {
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Bytes / sizeof(Unit); ++i) {
            auto const bit = i * static_cast<std::uint32_t>(sizeof(Unit)) * 8;
            store<space>(at + i * sizeof(Unit), static_cast<Unit>(words.word[bit / 32] >> bit % 32));
        }
    } else {
        constexpr std::uint32_t kUnitWords = sizeof(Unit) / 4;
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Bytes / sizeof(Unit); ++i) {
            Unit unit;
            SHARDWISE_UNROLL
            for (std::uint32_t k = 0; k < kUnitWords; ++k) { unit.word[k] = words.word[i * kUnitWords + k]; }
            store<space>(at + i * sizeof(Unit), unit);
        }
    }
}

/// Calls @p use with a value of the type that is the widest access of at most @p access bytes to @p Bytes bytes.
template <std::uint32_t Bytes, class Use>
SHARDWISE_HOST_DEVICE void with_unit(std::uint32_t access, Use use) {
    if constexpr (Bytes % 16 == 0) {
        if (access >= 16) { return use(FourWords{}); }
    }
    if constexpr (Bytes % 8 == 0) {
        if (access >= 8) { return use(TwoWords{}); }
    }
    if constexpr (Bytes % 4 == 0) {
        if (access >= 4) { return use(std::uint32_t{}); }
    }
    if constexpr (Bytes % 2 == 0) {
        if (access >= 2) { return use(std::uint16_t{}); }
    }
    use(std::uint8_t{});
}

}  // namespace detail

/// Loads @p Bytes bytes from each address, all with accesses of @p access bytes at most, which divides the addresses.
template <Space space = Space::global, std::uint32_t Bytes, std::uint32_t Flight>
SHARDWISE_HOST_DEVICE void load_words(std::byte const* const (&at)[Flight], std::uint32_t access,
                                      Words<Bytes> (&words)[Flight]) {
    detail::with_unit<Bytes>(access, [&](auto unit) {
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Flight; ++i) { words[i] = detail::load_by<Bytes, decltype(unit), space>(at[i]); }
    });
}

/// Stores what is to be stored; null addresses are left out.
template <Space space = Space::global, std::uint32_t Bytes, std::uint32_t Flight>
SHARDWISE_HOST_DEVICE void store_words(std::byte* const (&at)[Flight], std::uint32_t access,
                                       Words<Bytes> const (&words)[Flight]) {
    detail::with_unit<Bytes>(access, [&](auto unit) {
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Flight; ++i) {
            if (at[i] != nullptr) { detail::store_by<Bytes, decltype(unit), space>(at[i], words[i]); }
        }
    });
}

/// Where a group lies, relative to where its descriptor begins.
struct GridSpot {
    std::uint64_t source = 0;
    std::uint64_t target = 0;
    std::uint64_t element = 0;
};

/// Adds the steps of loops [First, Last) for the @p index-th round of them.
template <std::uint32_t First, std::uint32_t Last>
SHARDWISE_HOST_DEVICE void walk(GridBlock const& block, std::uint32_t index, GridSpot& spot) {
    SHARDWISE_UNROLL
    for (std::uint32_t level = First; level < Last; ++level) {
        auto const& loop = block.loops[level];
        if (level >= block.loop_count) { break; }
        auto const outer = level + 1 == Last ? 0 : loop.count.quotient(index);
        std::uint64_t const step = index - outer * loop.count.divisor;
        spot.source += step * loop.source_stride;
        spot.target += step * loop.target_stride;
        spot.element += step * loop.element_stride;
        index = outer;
    }
}

/// The spot of a group; Loops is the number of loops or kGridLoops for any.
template <std::uint32_t Loops>
SHARDWISE_HOST_DEVICE GridSpot spot_of(GridBlock const& block, std::uint32_t group) {
    GridSpot spot;
    walk<0, Loops>(block, group, spot);
    return spot;
}

/// Calls @p use with a constant: the number of loops of @p block if it has few, else kGridLoops.
template <class Use>
SHARDWISE_HOST_DEVICE void with_loops(GridBlock const& block, Use use) {
    if (block.loop_count == 1) { return use(std::integral_constant<std::uint32_t, 1>{}); }
    if (block.loop_count == 2) { return use(std::integral_constant<std::uint32_t, 2>{}); }
    use(std::integral_constant<std::uint32_t, kGridLoops>{});
}

}  // namespace shardwise
