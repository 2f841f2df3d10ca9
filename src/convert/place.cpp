#include "convert/place.hpp"

#include <cstring>

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

void copy_block(CopyBlock const& block, std::byte const* source, std::byte* target) {
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

void place(std::span<CopyBlock const> blocks, std::span<std::byte const> source, TensorSpans tensors) {
    for (auto const& block : blocks) { copy_block(block, source.data(), tensors[block.tensor].data()); }
}

void place_reference(std::span<CopyBlock const> blocks, std::span<std::byte const> source, TensorSpans tensors) {
    for (auto const& block : blocks) {
        auto const target = tensors[block.tensor];
        for_each_run_below(block, 0, block.source, block.target,
                           [&](std::uint64_t from, std::uint64_t to, std::uint64_t bytes) {
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

void unpack(std::span<CopyBlock const> blocks, std::span<std::byte const> packed, TensorSpans tensors) {
    std::byte const* next = packed.data();
    for (auto const& block : blocks) {
        auto* const target = tensors[block.tensor].data();
        for_each_run(block, [&](std::uint64_t, std::uint64_t to, std::uint64_t bytes) {
            std::memcpy(target + to, next, bytes);
            next += bytes;
        });
    }
}

}  // namespace shardwise
