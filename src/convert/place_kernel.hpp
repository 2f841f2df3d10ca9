/// @file
/// The kernel that puts the bytes of a list of descriptors in their places.
#pragma once

#include <cstddef>
#include <cstdint>

#include "convert/grid_access.hpp"
#include "convert/grid_block.hpp"
#include "convert/grid_kernel.hpp"
#include "convert/grid_numbers.hpp"

namespace shardwise {
namespace detail {

/// Groups of one thread that are under way at once. Those past the end are the last one again, which is loaded, and not
/// stored.
template <std::uint32_t Flight>
struct GroupFlight {
    std::byte const* source[Flight];
    std::byte* target[Flight];  ///< null: past the end
    std::uint32_t element[Flight];
};

template <std::uint32_t Loops, std::uint32_t Flight>
SHARDWISE_HOST_DEVICE GroupFlight<Flight> take_groups(GridBlock const& block, std::uint32_t first) {
    GroupFlight<Flight> taken;
    SHARDWISE_UNROLL
    for (std::uint32_t i = 0; i < Flight; ++i) {
        auto const index = first + i * kGridThreads;
        bool const exists = index < block.groups;
        auto const spot = spot_of<Loops>(block, exists ? index : block.groups - 1);
        taken.source[i] = block.source + spot.source;
        taken.target[i] = exists ? block.target + spot.target : nullptr;
        taken.element[i] = static_cast<std::uint32_t>(block.element + spot.element);
    }
    return taken;
}

/// Calls @p use(first group) for each time that the thread takes groups of a tile.
template <std::uint32_t Flight, class Use>
SHARDWISE_HOST_DEVICE void for_each_flight(GridBlock const& block, GridThread at, Use const& use) {
    constexpr auto kTile = kGridThreads * Flight * kGridRounds;
    auto const begin = (at.block - block.first_tile) * kTile;
    for (std::uint32_t round = 0; round < kGridRounds; ++round) {
        auto const first = begin + round * Flight * kGridThreads;
        if (first >= block.groups) { return; }
        use(first + at.thread);
    }
}

template <std::uint32_t Bytes>
SHARDWISE_KERNEL_PART void move_groups(GridBlock const& block, GridThread at) {
    constexpr auto kFlight = groups_in_flight(GridWork::move, Bytes);
    with_loops(block, [&](auto loops) {
        for_each_flight<kFlight>(block, at, [&](std::uint32_t first) {
            auto const taken = take_groups<decltype(loops)::value, kFlight>(block, first);
            Words<Bytes> words[kFlight];
            load_words(taken.source, Bytes, words);
            store_words(taken.target, Bytes, words);
        });
    });
}

/// Bits [shift, shift + 32) of two words.
SHARDWISE_HOST_DEVICE std::uint32_t joined_words(std::uint32_t low, std::uint32_t high, std::uint32_t shift) {
    return static_cast<std::uint32_t>((std::uint64_t{high} << 32U | low) >> shift);
}

/// 16 bytes out of four words, or of five if they do not begin with one.
SHARDWISE_KERNEL_PART void move_shifted_groups(GridBlock const& block, GridThread at) {
    constexpr auto kFlight = groups_in_flight(GridWork::move_shifted, 16);
    constexpr std::uint32_t kLast = 4;
    auto const shift = block.shift * 8U;
    with_loops(block, [&](auto loops) {
        for_each_flight<kFlight>(block, at, [&](std::uint32_t first) {
            auto const taken = take_groups<decltype(loops)::value, kFlight>(block, first);
            std::uint32_t word[kFlight][kLast + 1];
            SHARDWISE_UNROLL
            for (std::uint32_t i = 0; i < kFlight; ++i) {
                SHARDWISE_UNROLL
                for (std::uint32_t k = 0; k < kLast; ++k) { word[i][k] = load<std::uint32_t>(taken.source[i] + 4 * k); }
                word[i][kLast] = shift == 0 ? 0 : load<std::uint32_t>(taken.source[i] + 4 * kLast);
            }
            Words<16> words[kFlight];
            SHARDWISE_UNROLL
            for (std::uint32_t i = 0; i < kFlight; ++i) {
                SHARDWISE_UNROLL
                for (std::uint32_t k = 0; k < kLast; ++k) {
                    words[i].word[k] = joined_words(word[i][k], word[i][k + 1], shift);
                }
            }
            store_words(taken.target, 16, words);
        });
    });
}

/// Stores elements that lie `element_step` bytes apart.
template <std::uint32_t Group, std::uint32_t Flight>
SHARDWISE_HOST_DEVICE void store_apart(GridBlock const& block, std::byte* const (&target)[Flight],
                                       Numbers<Group, Flight> const& numbers) {
    SHARDWISE_UNROLL
    for (std::uint32_t k = 0; k < Group; ++k) {
        std::byte* at[Flight];
        Numbers<1, Flight> single;
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Flight; ++i) {
            at[i] = target[i] == nullptr ? nullptr : target[i] + k * block.element_step;
            single.value[i][0] = numbers.value[i][k];
        }
        store_numbers(block.to, at, block.target_access, single);
    }
}

template <std::uint32_t Group>
SHARDWISE_KERNEL_PART void convert_groups(GridBlock const& block, GridThread at) {
    constexpr auto kFlight = groups_in_flight(GridWork::convert, Group);
    for_each_flight<kFlight>(block, at, [&](std::uint32_t first) {
        auto const taken = take_groups<kGridLoops, kFlight>(block, first);
        Numbers<Group, kFlight> numbers;
        load_numbers(block.from, taken.source, block.source_access, numbers);
        if (block.scales.table != nullptr) { scale_numbers(block.scales, taken.element, numbers); }
        if constexpr (Group == 2 || Group == 4) {  // the smallest groups of packed types
            if (block.element_step != 0) { return store_apart(block, taken.target, numbers); }
        }
        store_numbers(block.to, taken.target, block.target_access, numbers);
    });
}

/// A tile of a transpose.
struct TransposePlace {
    std::uint32_t run = 0;     ///< first group along loops[0]
    std::uint32_t across = 0;  ///< first round of loops[1]
    GridSpot spot;             ///< of its corner
};

SHARDWISE_HOST_DEVICE TransposePlace transpose_place(GridBlock const& block, std::uint32_t tile,
                                                     TransposeTile const& size) {
    auto const rows = block.side_tiles[0].quotient(tile);
    auto const outer = block.side_tiles[1].quotient(rows);
    TransposePlace place;
    place.run = (tile - rows * block.side_tiles[0].divisor) * (size.run() / block.group);
    place.across = (rows - outer * block.side_tiles[1].divisor) * size.across();
    walk<2, kGridLoops>(block, outer, place.spot);
    auto const& run = block.loops[0];
    auto const& across = block.loops[1];
    place.spot.source += place.run * run.source_stride + place.across * across.source_stride;
    place.spot.target += place.run * run.target_stride + place.across * across.target_stride;
    place.spot.element += place.run * run.element_stride + place.across * across.element_stride;
    return place;
}

/// Into shared memory, row by row as the source has them: calls @p fetch with groups whose targets are in @p tile.
template <std::uint32_t Group, class Fetch>
SHARDWISE_HOST_DEVICE void fetch_tile(GridBlock const& block, GridThread at, std::byte* tile, Fetch const& fetch) {
    constexpr auto kFlight = groups_in_flight(GridWork::transpose, Group);
    auto const size = transpose_tile(block.target_access);
    auto const place = transpose_place(block, at.block - block.first_tile, size);
    auto const groups = size.run() / Group;
    auto const& run_loop = block.loops[0];
    auto const& across_loop = block.loops[1];
    for (auto first = at.thread; first < groups * size.across(); first += kFlight * kGridThreads) {
        GroupFlight<kFlight> taken;
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < kFlight; ++i) {
            auto const index = first + i * kGridThreads;
            auto const run = index & (groups - 1);
            auto const across = index * Group >> size.run_log2;
            bool const exists = across < size.across() && place.across + across < across_loop.count.divisor &&
                                place.run + run < run_loop.count.divisor;
            std::uint64_t const run_step = exists ? run : 0;
            std::uint64_t const across_step = exists ? across : 0;
            taken.source[i] = block.source + place.spot.source + run_step * run_loop.source_stride +
                              across_step * across_loop.source_stride;
            taken.element[i] =
                static_cast<std::uint32_t>(block.element + place.spot.element + run_step * run_loop.element_stride +
                                           across_step * across_loop.element_stride);
            taken.target[i] = exists ? tile + across * size.pitch + run * Group * block.target_access : nullptr;
        }
        fetch(taken);
    }
}

template <std::uint32_t Bytes>
SHARDWISE_KERNEL_PART void fetch_elements(GridBlock const& block, GridThread at, std::byte* tile) {
    fetch_tile<1>(block, at, tile, [](auto const& taken) {
        constexpr auto kFlight = groups_in_flight(GridWork::transpose, 1);
        Words<Bytes> words[kFlight];
        load_words(taken.source, Bytes, words);
        store_words<Space::shared>(taken.target, Bytes, words);
    });
}

template <std::uint32_t Group>
SHARDWISE_KERNEL_PART void fetch_converted(GridBlock const& block, GridThread at, std::byte* tile) {
    fetch_tile<Group>(block, at, tile, [&](auto const& taken) {
        Numbers<Group, groups_in_flight(GridWork::transpose, Group)> numbers;
        load_numbers(block.from, taken.source, block.source_access, numbers);
        if (block.scales.table != nullptr) { scale_numbers(block.scales, taken.element, numbers); }
        store_numbers<Space::shared>(block.to, taken.target, block.target_access, numbers);
    });
}

/// Out of shared memory, column by column, which are rows of the target.
template <std::uint32_t Bytes>
SHARDWISE_KERNEL_PART void put_elements(GridBlock const& block, GridThread at, std::byte const* tile) {
    constexpr auto kSize = transpose_tile(Bytes);
    constexpr auto kFlight = groups_in_flight(GridWork::transpose, 1);
    auto const place = transpose_place(block, at.block - block.first_tile, kSize);
    auto const runs = (block.loops[0].count.divisor - place.run) * block.group;
    auto const acrosses = block.loops[1].count.divisor - place.across;
    for (auto first = at.thread; first < kSize.run() * kSize.across(); first += kFlight * kGridThreads) {
        std::byte const* source[kFlight];
        std::byte* target[kFlight];
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < kFlight; ++i) {
            auto const index = first + i * kGridThreads;
            auto const across = index % kSize.across();
            auto const run = index / kSize.across();
            bool const exists = run < kSize.run() && run < runs && across < acrosses;
            source[i] = exists ? tile + across * kSize.pitch + run * Bytes : tile;
            target[i] = exists ? block.target + place.spot.target + run * block.element_step + across * Bytes : nullptr;
        }
        Words<Bytes> words[kFlight];
        load_words<Space::shared>(source, Bytes, words);
        store_words(target, Bytes, words);
    }
}

}  // namespace detail

/// Places every tile of a list; a thread block has one.
struct PlaceKernel {
    struct Shared {
        alignas(16) std::byte tile[kTransposeBytes];
        std::uint32_t block;
    };
    static constexpr std::uint32_t kPhases = 3;
    static constexpr std::uint32_t kBlocksPerProcessor = 4;  ///< 64 registers a thread

    GridBlock const* blocks;
    GridSize size;

    /// Which descriptor the tile is of.
    SHARDWISE_HOST_DEVICE void operator()(Phase<0>, GridThread at, Shared& shared) const {
        if (at.thread == 0) { shared.block = block_of_tile(blocks, size.blocks, at.block); }
    }

    SHARDWISE_HOST_DEVICE void operator()(Phase<1>, GridThread at, Shared& shared) const {
        auto const& block = blocks[shared.block];
        switch (block.work) {
            case GridWork::move: return move(block, at);
            case GridWork::move_shifted: return detail::move_shifted_groups(block, at);
            case GridWork::convert: return convert(block, at);
            case GridWork::transpose: return fetch(block, at, shared.tile);
            default: return fetch_converted(block, at, shared.tile);
        }
    }

    /// What a transpose has left in shared memory.
    SHARDWISE_HOST_DEVICE void operator()(Phase<2>, GridThread at, Shared& shared) const {
        auto const& block = blocks[shared.block];
        if (block.work != GridWork::transpose && block.work != GridWork::convert_transpose) { return; }
        switch (block.target_access) {
            case 1: return detail::put_elements<1>(block, at, shared.tile);
            case 2: return detail::put_elements<2>(block, at, shared.tile);
            case 4: return detail::put_elements<4>(block, at, shared.tile);
            default: return detail::put_elements<8>(block, at, shared.tile);
        }
    }

   private:
    SHARDWISE_HOST_DEVICE static void move(GridBlock const& block, GridThread at) {
        switch (block.group) {
            case 1: return detail::move_groups<1>(block, at);
            case 2: return detail::move_groups<2>(block, at);
            case 4: return detail::move_groups<4>(block, at);
            case 8: return detail::move_groups<8>(block, at);
            default: return detail::move_groups<16>(block, at);
        }
    }

    SHARDWISE_HOST_DEVICE static void convert(GridBlock const& block, GridThread at) {
        switch (block.group) {
            case 1: return detail::convert_groups<1>(block, at);
            case 2: return detail::convert_groups<2>(block, at);
            case 4: return detail::convert_groups<4>(block, at);
            case 8: return detail::convert_groups<8>(block, at);
            default: return detail::convert_groups<16>(block, at);
        }
    }

    SHARDWISE_HOST_DEVICE static void fetch(GridBlock const& block, GridThread at, std::byte* tile) {
        switch (block.target_access) {
            case 1: return detail::fetch_elements<1>(block, at, tile);
            case 2: return detail::fetch_elements<2>(block, at, tile);
            case 4: return detail::fetch_elements<4>(block, at, tile);
            default: return detail::fetch_elements<8>(block, at, tile);
        }
    }

    SHARDWISE_HOST_DEVICE static void fetch_converted(GridBlock const& block, GridThread at, std::byte* tile) {
        switch (block.group) {
            case 1: return detail::fetch_converted<1>(block, at, tile);
            case 2: return detail::fetch_converted<2>(block, at, tile);
            default: return detail::fetch_converted<4>(block, at, tile);
        }
    }
};

}  // namespace shardwise
