/// @file
/// How a parameter lies across the tensor-parallel ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <shardwise/shape.hpp>

namespace shardwise {

/// A half-open range of indices.
struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t size() const noexcept { return end - begin; }
    bool operator==(Range const&) const = default;
};

/// Every rank holds all of the parameter, or its part of each block of one dimension.
///
/// The ceil rule: a block of n indices falls into `parts` pieces of c = ceil(n / parts), piece i being
/// [min(i c, n), min((i + 1) c, n)): the last ones may be short or empty. Rank r holds piece r / repeat of every block;
/// the pieces are joined in the order of the blocks.
struct Placement {
    enum class Kind : std::uint8_t { replicate, shard, packed, expert };

    struct Block {
        std::int64_t size = 0;
        std::int64_t parts = 1;
        std::int64_t repeat = 1;  ///< ranks in a row that hold the same piece (replicated kv heads)
        bool operator==(Block const&) const = default;
    };

    Kind kind = Kind::replicate;
    std::uint32_t dim = 0;
    std::vector<Block> blocks;  ///< empty for replicate, one for shard and expert

    bool operator==(Placement const&) const = default;
};

/// A plain cut of @p shape along @p dim into @p parts; kind shard or expert.
Placement cut_along(Shape const& shape, std::size_t dim, std::int64_t parts,
                    Placement::Kind kind = Placement::Kind::shard);

/// Index ranges of the placement's dimension that @p rank holds, in local order; empty ones are left out.
/// Not to be called for replicate.
///
/// Example: blocks of 5 and 5 rows in 4 parts -> rank 2 holds [4, 5) and [9, 10).
std::vector<Range> held_ranges(Placement const& placement, std::int64_t rank);

/// Shape of what @p rank holds.
Shape local_shape(Placement const& placement, Shape const& shape, std::int64_t rank);

/// Example: "replicate", "shard 0", "packed 1 [40, 40]", "expert 0".
std::string to_string(Placement const& placement);
char const* to_string(Placement::Kind kind) noexcept;

}  // namespace shardwise
