#include "convert/place.hpp"

#include <cstring>

#include "convert/place_cast.hpp"
#include "convert/runs.hpp"

namespace shardwise {
namespace {

/// Runs of one element are the worst case of a permutation; a copy of fixed size compiles to one move.
template <std::size_t Bytes>
void copy_elements(CopyBlock const& block, std::byte const* source, std::byte* target) {
    for_each_run(block, [=](std::uint64_t from, std::uint64_t to, std::uint64_t) {
        std::memcpy(target + to, source + from, Bytes);
    });
}

/// What the codes of a block are dequantized with; null if its elements are cast.
BlockScaling const* scaling_of(CopyBlock const& block, Scalings scalings) {
    return block.cast.scaling == kUnscaled ? nullptr : &scalings[block.cast.scaling];
}

void put_block(CopyBlock const& block, std::byte const* source, std::byte* target, Scalings scalings) {
    if (!block.cast.is_move()) { return place_cast(block, source, target, scaling_of(block, scalings)); }
    switch (block.run_bytes) {
        case 1: return copy_elements<1>(block, source, target);
        case 2: return copy_elements<2>(block, source, target);
        case 4: return copy_elements<4>(block, source, target);
        case 8: return copy_elements<8>(block, source, target);
        default:
            for_each_run(block, [=](std::uint64_t from, std::uint64_t to, std::uint64_t bytes) {
                std::memcpy(target + to, source + from, bytes);
            });
    }
}

}  // namespace

void place(std::span<CopyBlock const> blocks, std::span<std::byte const> source, TensorSpans tensors,
           Scalings scalings) {
    for (auto const& block : blocks) { put_block(block, source.data(), tensors[block.tensor].data(), scalings); }
}

void place_reference(std::span<CopyBlock const> blocks, std::span<std::byte const> source, TensorSpans tensors,
                     Scalings scalings) {
    for (auto const& block : blocks) {
        auto const target = tensors[block.tensor];
        for_each_run_below(block, 0, block.source, block.target,
                           [&](std::uint64_t from, std::uint64_t to, std::uint64_t bytes) {
                               if (!block.cast.is_move()) {
                                   cast_run_reference(block, scaling_of(block, scalings), from,
                                                      source.subspan(from, bytes), target.subspan(to));
                                   return;
                               }
                               for (std::uint64_t i = 0; i < bytes; ++i) { target[to + i] = source[from + i]; }
                           });
    }
}

void pack(std::span<CopyBlock const> blocks, std::span<std::byte const> source, std::span<std::byte> packed) {
    std::byte* next = packed.data();
    for (auto const& block : blocks) {
        for_each_run(block, [&](std::uint64_t from, std::uint64_t, std::uint64_t bytes) {
            std::memcpy(next, source.data() + from, bytes);
            next += bytes;
        });
    }
}

void unpack(std::span<CopyBlock const> blocks, std::span<std::byte const> packed, TensorSpans tensors,
            Scalings scalings) {
    std::byte const* next = packed.data();
    for (auto const& block : blocks) {
        auto* const target = tensors[block.tensor].data();
        if (!block.cast.is_move()) {
            unpack_cast(block, next, target, scaling_of(block, scalings));
            next += block.bytes();
            continue;
        }
        for_each_run(block, [&](std::uint64_t, std::uint64_t to, std::uint64_t bytes) {
            std::memcpy(target + to, next, bytes);
            next += bytes;
        });
    }
}

}  // namespace shardwise
