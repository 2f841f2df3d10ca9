#include "mapping/tiling.hpp"

#include <algorithm>

namespace shardwise {

Tiling::Tiling(Placement const& placement, Shape const& shape, Mesh const& mesh) : borders_(shape.rank()) {
    // Replicas and stages hold the same parts as the first ones.
    for (std::int64_t rank = 0; rank < mesh.copy_ranks(); ++rank) {
        auto const held = held_ranges(placement, shape, mesh, rank);
        for (std::size_t dim = 0; dim < held.size(); ++dim) {
            for (auto const& range : held[dim]) {
                borders_[dim].push_back(range.begin);
                borders_[dim].push_back(range.end);
            }
        }
    }
    for (auto& borders : borders_) {
        std::sort(borders.begin(), borders.end());
        borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
    }
}

std::vector<HeldBox> Tiling::tiles_of(HeldBox const& box) const {
    std::vector<HeldBox> tiles(1);
    for (std::size_t dim = 0; dim < borders_.size(); ++dim) {
        auto const& borders = borders_[dim];
        auto const [begin, end] = box.indices[dim];
        std::vector<HeldBox> finer;
        auto const first = std::lower_bound(borders.begin(), borders.end(), begin);
        for (auto const& tile : tiles) {
            for (auto at = first; *at != end; ++at) {
                finer.push_back(tile);
                finer.back().indices.push_back({*at, *(at + 1)});
                finer.back().local_begin.push_back(box.local_begin[dim] + *at - begin);
            }
        }
        tiles = std::move(finer);
    }
    return tiles;
}

std::vector<std::int64_t> corner_of(HeldBox const& box) {
    std::vector<std::int64_t> corner;
    for (auto const& range : box.indices) { corner.push_back(range.begin); }
    return corner;
}

View part_at(View const& view, HeldBox const& box) {
    View part;
    View const* from = &view;
    for (std::size_t dim = 0; dim < box.indices.size(); ++dim) {
        auto const [begin, end] = box.indices[dim];
        if (end - begin == view.shape[dim]) { continue; }
        part = slice(*from, dim, begin, end);
        from = &part;
    }
    if (from == &view) { part = view; }
    for (auto& region : part.regions) {
        for (std::size_t dim = 0; dim < box.indices.size(); ++dim) { region.axes[dim].begin += box.local_begin[dim]; }
    }
    return part;
}

}  // namespace shardwise
