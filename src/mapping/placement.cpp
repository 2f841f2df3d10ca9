#include <shardwise/placement.hpp>

#include <algorithm>

#include <fmt/format.h>

#include "util/checked.hpp"

namespace shardwise {
namespace {

using Ranges = std::vector<Range>;

std::int64_t extent_of(Ranges const& ranges) {
    std::int64_t extent = 0;
    for (auto const& range : ranges) { extent += range.size(); }
    return extent;
}

/// The blocks of a cut of a dimension of @p extent.
std::vector<Placement::Block> blocks_of(Placement::AxisCut const& cut, std::int64_t extent, Mesh const& mesh) {
    if (!cut.blocks.empty()) { return cut.blocks; }
    return {{extent, mesh.size(cut.axis), 1}};
}

/// Pieces of a dimension of @p extent that rank @p coordinate of the cut's axis holds.
Ranges pieces_of(Placement::AxisCut const& cut, std::int64_t extent, Mesh const& mesh, std::int64_t coordinate) {
    Ranges pieces;
    std::int64_t block_begin = 0;
    for (auto const& block : blocks_of(cut, extent, mesh)) {
        auto const piece = ceil_div(block.size, block.parts);
        auto const index = coordinate / block.repeat;
        Range const held = {block_begin + std::min(index * piece, block.size),
                            block_begin + std::min((index + 1) * piece, block.size)};
        if (held.size() > 0) { pieces.push_back(held); }
        block_begin += block.size;
    }
    return pieces;
}

/// The first rank of the cut's axis that holds index @p at of a dimension of @p extent.
std::int64_t first_holder(Placement::AxisCut const& cut, std::int64_t extent, Mesh const& mesh, std::int64_t at) {
    for (auto const& block : blocks_of(cut, extent, mesh)) {
        if (at < block.size) { return at / ceil_div(block.size, block.parts) * block.repeat; }
        at -= block.size;
    }
    return 0;
}

/// Where index @p at is among @p pieces joined, one of which holds it.
std::int64_t place_in(Ranges const& pieces, std::int64_t at) {
    std::int64_t place = 0;
    for (auto const& piece : pieces) {
        if (at < piece.end) { return place + at - piece.begin; }
        place += piece.size();
    }
    return place;
}

/// The parts of @p ranges at places @p pieces of them joined.
Ranges picked(Ranges const& ranges, Ranges const& pieces) {
    Ranges result;
    for (auto const& piece : pieces) {
        std::int64_t begin = 0;  // place of the range's first index
        for (auto const& range : ranges) {
            auto const first = std::max(piece.begin, begin);
            auto const last = std::min(piece.end, begin + range.size());
            if (first < last) { result.push_back({range.begin + (first - begin), range.begin + (last - begin)}); }
            begin += range.size();
        }
    }
    return result;
}

}  // namespace

Placement cut_along(Shape const& shape, std::size_t dim, std::int64_t parts, Placement::Kind kind) {
    return {.cuts = {{kind, static_cast<std::uint32_t>(dim), {{shape[dim], parts, 1}}, MeshAxis::tp}}, .stages = {}};
}

bool is_held(Placement const& placement, Mesh const& mesh, std::int64_t rank) noexcept {
    auto const& stages = placement.stages;
    return stages.empty() || std::find(stages.begin(), stages.end(), mesh.stage(rank)) != stages.end();
}

bool is_whole(Placement const& placement, Mesh const& mesh) noexcept {
    return std::all_of(placement.cuts.begin(), placement.cuts.end(), [&](Placement::AxisCut const& cut) {
        return cut.blocks.empty() ? mesh.size(cut.axis) == 1
                                  : std::all_of(cut.blocks.begin(), cut.blocks.end(),
                                                [](auto const& block) { return block.parts == 1; });
    });
}

std::vector<Ranges> held_ranges(Placement const& placement, Shape const& shape, Mesh const& mesh, std::int64_t rank) {
    std::vector<Ranges> held(shape.rank());
    for (std::size_t dim = 0; dim < shape.rank(); ++dim) {
        if (shape[dim] > 0) { held[dim].push_back({0, shape[dim]}); }
    }
    for (auto const& cut : placement.cuts) {
        auto& ranges = held[cut.dim];
        ranges = picked(ranges, pieces_of(cut, extent_of(ranges), mesh, mesh.coordinate(cut.axis, rank)));
    }
    return held;
}

std::vector<HeldBox> held_boxes(Placement const& placement, Shape const& shape, Mesh const& mesh, std::int64_t rank) {
    std::vector<HeldBox> boxes(1);
    for (auto const& ranges : held_ranges(placement, shape, mesh, rank)) {
        std::vector<HeldBox> longer;
        for (auto const& box : boxes) {
            std::int64_t at = 0;
            for (auto const& range : ranges) {
                longer.push_back(box);
                longer.back().indices.push_back(range);
                longer.back().local_begin.push_back(at);
                at += range.size();
            }
        }
        boxes = std::move(longer);
    }
    return boxes;
}

Shape local_shape(Placement const& placement, Shape const& shape, Mesh const& mesh, std::int64_t rank) {
    auto const held = held_ranges(placement, shape, mesh, rank);
    Shape local = shape;
    for (std::size_t dim = 0; dim < shape.rank(); ++dim) { local[dim] = extent_of(held[dim]); }
    return local;
}

std::int64_t first_alike(Placement const& placement, Mesh const& mesh, std::int64_t rank) noexcept {
    std::int64_t first = 0;
    for (auto const& cut : placement.cuts) { first += mesh.coordinate(cut.axis, rank) * mesh.stride(cut.axis); }
    return first;
}

std::int64_t holder_of(Placement const& placement, Shape const& shape, Mesh const& mesh,
                       std::span<std::int64_t const> index) {
    auto extents = shape;
    std::vector<std::int64_t> at(index.begin(), index.end());
    std::int64_t rank = 0;
    for (auto const& cut : placement.cuts) {
        auto const coordinate = first_holder(cut, extents[cut.dim], mesh, at[cut.dim]);
        auto const pieces = pieces_of(cut, extents[cut.dim], mesh, coordinate);
        at[cut.dim] = place_in(pieces, at[cut.dim]);
        extents[cut.dim] = extent_of(pieces);
        rank += coordinate * mesh.stride(cut.axis);
    }
    return rank;
}

char const* to_string(Placement::Kind kind) noexcept {
    switch (kind) {
        case Placement::Kind::replicate: return "replicate";
        case Placement::Kind::shard: return "shard";
        case Placement::Kind::packed: return "packed";
        case Placement::Kind::expert: return "expert";
    }
    return "unknown";
}

namespace {

std::string to_string(Placement::AxisCut const& cut) {
    auto text = fmt::format("{} {}", to_string(cut.kind), cut.dim);
    if (cut.kind == Placement::Kind::packed) {
        std::vector<std::int64_t> sizes;
        for (auto const& block : cut.blocks) { sizes.push_back(block.size); }
        text += fmt::format(" [{}]", fmt::join(sizes, ", "));
    }
    if (cut.axis != MeshAxis::tp) { text += fmt::format(" over {}", to_string(cut.axis)); }
    auto const repeats = std::any_of(cut.blocks.begin(), cut.blocks.end(), [](auto const& b) { return b.repeat > 1; });
    return repeats ? text + " (heads repeated)" : text;
}

}  // namespace

std::string to_string(Placement const& placement) {
    std::vector<std::string> parts;
    for (auto const& cut : placement.cuts) { parts.push_back(to_string(cut)); }
    auto const cuts =
        parts.empty() ? to_string(Placement::Kind::replicate) : fmt::format("{}", fmt::join(parts, ", then "));
    return placement.stages.empty() ? cuts : fmt::format("{}; stage {}", cuts, fmt::join(placement.stages, ", "));
}

}  // namespace shardwise
