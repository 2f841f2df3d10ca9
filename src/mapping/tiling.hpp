/// @file
/// Pieces of a parameter that no rank's part cuts through, for counting who holds what.
#pragma once

#include <cstdint>
#include <vector>

#include <shardwise/placement.hpp>

#include "mapping/view.hpp"

namespace shardwise {

/// A grid over a parameter in which every box that any rank holds is made of whole tiles. Ranks that hold parts of the
/// same heads beside different query rows need not cut at the same places; tiles do.
class Tiling {
   public:
    Tiling(Placement const& placement, Shape const& shape, Mesh const& mesh);

    /// The tiles of one held box.
    std::vector<HeldBox> tiles_of(HeldBox const& box) const;

   private:
    std::vector<std::vector<std::int64_t>> borders_;  ///< by dimension, ascending
};

/// First index of a box in every dimension: what tells a tile from the others.
std::vector<std::int64_t> corner_of(HeldBox const& box);

/// The part of @p view in a box of what it is a view of, its regions placed as the box lies in what the rank holds.
View part_at(View const& view, HeldBox const& box);

}  // namespace shardwise
