/// @file
/// The kernel that quantizes a matrix to F8_E4M3, a thread block for each of its blocks.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "convert/fp8_block.hpp"
#include "convert/grid_access.hpp"
#include "convert/grid_block.hpp"
#include "convert/grid_kernel.hpp"
#include "convert/grid_numbers.hpp"

namespace shardwise {

struct QuantizeKernel {
    static constexpr std::uint32_t kPartialMaxima = 16;
    struct Shared {
        std::uint32_t maxima[kGridThreads];
        std::uint32_t partial_maxima[kPartialMaxima];
        BlockFactor factor;
    };
    static constexpr std::uint32_t kPhases = 4;
    static constexpr std::uint32_t kBlocksPerProcessor = 4;
    static constexpr std::uint32_t kFlight = 4;

    std::byte const* values;
    std::byte* codes;
    std::byte* scales;
    std::uint64_t row_elements;  ///< from row to row
    std::uint64_t block_rows;
    FastDivisor blocks_across;
    FastDivisor groups_across;  ///< groups in a row of a block
    std::uint64_t groups;       ///< of a block
    DType from;
    ScaleFormat format;
    std::uint8_t element_bytes;  ///< of the values
    std::uint8_t group;          ///< elements: 4, or 1 if rows of blocks are no multiple of it
    std::uint8_t source_access;
    std::uint8_t target_access;
    std::uint8_t scale_access;

    /// The greatest number that each thread sees.
    SHARDWISE_HOST_DEVICE void operator()(Phase<0>, GridThread at, Shared& shared) const {
        shared.maxima[at.thread] = group == 4 ? greatest<4>(at) : greatest<1>(at);
    }

    SHARDWISE_HOST_DEVICE void operator()(Phase<1>, GridThread at, Shared& shared) const {
        if (at.thread >= kPartialMaxima) { return; }
        std::uint32_t found = 0;
        for (auto i = at.thread; i < kGridThreads; i += kPartialMaxima) {
            found = found < shared.maxima[i] ? shared.maxima[i] : found;
        }
        shared.partial_maxima[at.thread] = found;
    }

    /// The block's factor, whose inverse is stored.
    SHARDWISE_HOST_DEVICE void operator()(Phase<2>, GridThread at, Shared& shared) const {
        if (at.thread != 0) { return; }
        std::uint32_t found = 0;
        for (auto const maximum : shared.partial_maxima) { found = found < maximum ? maximum : found; }
        shared.factor = block_factor(std::bit_cast<float>(found), format);
        Numbers<1, 1> const inverse = {{{shared.factor.inverse}}};
        bool const is_f32 = format == ScaleFormat::f32;
        std::byte* const place[1] = {scales + std::uint64_t{at.block} * (is_f32 ? sizeof(float) : 1)};
        store_numbers(is_f32 ? DType::f32 : DType::f8_e8m0, place, scale_access, inverse);
    }

    SHARDWISE_HOST_DEVICE void operator()(Phase<3>, GridThread at, Shared& shared) const {
        group == 4 ? encode<4>(at, shared.factor.scale) : encode<1>(at, shared.factor.scale);
    }

   private:
    /// Number of the first element of a group of the block.
    template <std::uint32_t Group>
    SHARDWISE_HOST_DEVICE std::uint64_t element_of(GridThread at, std::uint32_t index) const {
        auto const block_row = blocks_across.quotient(at.block);
        std::uint64_t const block_column = at.block - block_row * blocks_across.divisor;
        auto const row = groups_across.quotient(index);
        auto const column = index - row * groups_across.divisor;
        return (block_row * block_rows + row) * row_elements + (block_column * groups_across.divisor + column) * Group;
    }

    /// Calls @p use(numbers of the first elements, how many groups exist, numbers) for all groups of a thread.
    template <std::uint32_t Group, class Use>
    SHARDWISE_HOST_DEVICE void for_each_flight(GridThread at, Use const& use) const {
        auto const count = static_cast<std::uint32_t>(groups);
        for (auto first = at.thread; first < count; first += kFlight * kGridThreads) {
            std::uint64_t element[kFlight];
            std::byte const* source[kFlight];
            bool exists[kFlight];
            SHARDWISE_UNROLL
            for (std::uint32_t i = 0; i < kFlight; ++i) {
                auto const index = first + i * kGridThreads;
                exists[i] = index < count;
                element[i] = element_of<Group>(at, exists[i] ? index : first);
                source[i] = values + element[i] * element_bytes;
            }
            Numbers<Group, kFlight> numbers;
            load_numbers(from, source, source_access, numbers);
            use(element, exists, numbers);
        }
    }

    template <std::uint32_t Group>
    SHARDWISE_HOST_DEVICE std::uint32_t greatest(GridThread at) const {
        std::uint32_t found = 0;
        for_each_flight<Group>(at, [&](auto const&, auto const&, auto const& numbers) {
            SHARDWISE_UNROLL
            for (std::uint32_t i = 0; i < kFlight; ++i) {
                SHARDWISE_UNROLL
                for (std::uint32_t k = 0; k < Group; ++k) {
                    auto const magnitude = magnitude_bits(numbers.value[i][k]);
                    found = found < magnitude ? magnitude : found;
                }
            }
        });
        return found;
    }

    template <std::uint32_t Group>
    SHARDWISE_HOST_DEVICE void encode(GridThread at, float scale) const {
        for_each_flight<Group>(at, [&](auto const& element, auto const& exists, auto& numbers) {
            std::byte* target[kFlight];
            SHARDWISE_UNROLL
            for (std::uint32_t i = 0; i < kFlight; ++i) {
                target[i] = exists[i] ? codes + element[i] : nullptr;
                SHARDWISE_UNROLL
                for (std::uint32_t k = 0; k < Group; ++k) {
                    numbers.value[i][k] = scaled_into_range(numbers.value[i][k], scale);
                }
            }
            store_numbers(DType::f8_e4m3, target, target_access, numbers);
        });
    }
};

}  // namespace shardwise
