/// @file
/// Copy blocks of every kind: any number of loops, in any order in the target, with and without casts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include <shardwise/plan.hpp>

namespace shardwise::test {

std::vector<std::byte> random_bytes(std::mt19937& random, std::size_t count);

/// Blocks for one tensor of `target_bytes`, whose bytes they write once or not at all.
struct RandomBlocks {
    std::vector<CopyBlock> blocks;
    std::size_t target_bytes = 0;
};

/// Some blocks that read from a source of @p source_bytes.
RandomBlocks random_blocks(std::mt19937& random, std::size_t source_bytes);

/// One block whose sources and targets begin at 0.
CopyBlock random_block(std::mt19937& random, std::size_t source_bytes);

/// Bytes of the target from the first one written to the last.
std::uint64_t target_span(CopyBlock const& block);

}  // namespace shardwise::test
