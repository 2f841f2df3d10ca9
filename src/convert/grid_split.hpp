/// @file
/// Jobs of any depth and size as jobs that one descriptor holds.
#pragma once

#include <cstdint>
#include <functional>

#include "convert/grid_list.hpp"

namespace shardwise {

/// The fewest bytes that a job handles by themselves, and the elements in them.
struct GridAtom {
    std::uint64_t bytes = 1;
    std::uint64_t elements = 1;
    bool is_counted = false;  ///< the numbers of elements matter

    std::uint64_t most_elements = ~std::uint64_t{0};  ///< from a descriptor's first one to its last
};

/// Atoms of a descriptor: 32 bits count them and a tile more.
inline constexpr std::uint64_t kMostAtoms = std::uint64_t{1} << 30U;

/// Atoms in all.
std::uint64_t atoms_in(GridJob const& job) noexcept;

/// The part of @p job of rounds [first, first + count) of a step; a step past the last one is the run.
struct GridPart {
    std::size_t step = 0;
    std::uint64_t first = 0;
    std::uint64_t count = 0;
};
GridJob part_of(GridJob job, GridPart const& part, GridAtom const& atom);

/// Calls @p use for parts of @p job that have the same runs together: at most kGridLoops - 1 steps, none of one round,
/// what is one loop or one run joined; at most kMostAtoms atoms and atom.most_elements elements.
void split(GridJob job, GridAtom const& atom, std::function<void(GridJob const&)> const& use);

}  // namespace shardwise
