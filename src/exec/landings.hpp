/// @file
/// Which bytes of a read storage can put into the tensors itself, and what is left to be copied out of a buffer.
#pragma once

#include <cstdint>
#include <vector>

#include <shardwise/plan.hpp>

#include "convert/place.hpp"
#include "io/reader.hpp"

namespace shardwise {

/// Runs shorter than this are copied: each stretch is one more for the device to write to.
inline constexpr std::uint64_t kLeastLanding = 64ULL << 10U;

struct Landings {
    std::vector<Landing> landings;  ///< in order; empty if nothing can land
    std::vector<CopyBlock> rest;    ///< what they leave of the blocks; without landings empty, too
    std::uint64_t bytes() const noexcept {
        std::uint64_t sum = 0;
        for (auto const& landing : landings) { sum += landing.into.size(); }
        return sum;
    }
};

/// Whole pages of runs whose tensor lies, seen from them, at a multiple of @p memory_alignment. What is cast, short, or
/// wanted in two places does not land.
Landings find_landings(FileRange const& range, std::span<CopyBlock const> blocks, TensorSpans tensors,
                       std::uint64_t memory_alignment);

}  // namespace shardwise
