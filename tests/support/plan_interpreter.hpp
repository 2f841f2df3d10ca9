/// @file
/// Carries out the plans of all ranks in memory, byte by byte, with nothing of the executor: what a plan means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

namespace shardwise::test {

/// What one rank holds in the end, by tensor in plan order.
struct RankMemory {
    std::vector<std::vector<std::byte>> tensors;
    std::vector<std::vector<std::uint8_t>> writes;  ///< how often each byte was put in place
};

/// Each run of a block: offsets in the source and in the target.
struct Run {
    std::uint64_t source = 0;
    std::uint64_t target = 0;
    std::uint64_t bytes = 0;
};

/// The runs of a block in the order of its loops.
std::vector<Run> runs_of(CopyBlock const& block);

/// Runs @p plans, one a rank, over the contents of @p files. Every piece that crosses ranks is taken as a message and
/// as a look into the other rank's slot, which must agree.
/// @throws std::exception for a plan that contradicts itself or another rank's: a byte outside a file, a slot, a
/// tensor; a
///         byte of a slot that was not read or was read twice; a receive without its send and the reverse.
std::vector<RankMemory> interpret(std::span<Plan const> plans, std::span<std::vector<std::byte> const> files);

}  // namespace shardwise::test
