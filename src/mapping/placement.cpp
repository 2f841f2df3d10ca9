#include <shardwise/placement.hpp>

#include <algorithm>

#include <fmt/format.h>

#include "util/checked.hpp"

namespace shardwise {

Placement cut_along(Shape const& shape, std::size_t dim, std::int64_t parts, Placement::Kind kind) {
    return {kind, static_cast<std::uint32_t>(dim), {{shape[dim], parts, 1}}};
}

std::vector<Range> held_ranges(Placement const& placement, std::int64_t rank) {
    std::vector<Range> ranges;
    std::int64_t block_begin = 0;
    for (auto const& block : placement.blocks) {
        auto const piece = ceil_div(block.size, block.parts);
        auto const index = rank / block.repeat;
        Range const held = {block_begin + std::min(index * piece, block.size),
                            block_begin + std::min((index + 1) * piece, block.size)};
        if (held.size() > 0) { ranges.push_back(held); }
        block_begin += block.size;
    }
    return ranges;
}

Shape local_shape(Placement const& placement, Shape const& shape, std::int64_t rank) {
    if (placement.kind == Placement::Kind::replicate) { return shape; }
    Shape local = shape;
    local[placement.dim] = 0;
    for (auto const& range : held_ranges(placement, rank)) { local[placement.dim] += range.size(); }
    return local;
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

std::string to_string(Placement const& placement) {
    if (placement.kind == Placement::Kind::replicate) { return to_string(placement.kind); }
    auto text = fmt::format("{} {}", to_string(placement.kind), placement.dim);
    if (placement.kind == Placement::Kind::packed) {
        std::vector<std::int64_t> sizes;
        for (auto const& block : placement.blocks) { sizes.push_back(block.size); }
        text += fmt::format(" [{}]", fmt::join(sizes, ", "));
    }
    auto const repeats =
        std::any_of(placement.blocks.begin(), placement.blocks.end(), [](auto const& b) { return b.repeat > 1; });
    return repeats ? text + " (heads repeated)" : text;
}

}  // namespace shardwise
