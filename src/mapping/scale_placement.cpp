#include "mapping/scale_placement.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/block_scales.hpp"
#include "mapping/kept_scales.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

constexpr std::string_view kBlocks = "_blocks";
constexpr std::int64_t kBlockBytes = 16;  ///< of one MXFP4 block
constexpr std::int64_t kBlockCodes = 32;

bool is_codes(DType dtype) {
    return dtype == DType::f8_e4m3 || dtype == DType::f8_e5m2 || dtype == DType::f8_e4m3fnuz ||
           dtype == DType::f8_e5m2fnuz || dtype == DType::i8;
}

/// What stands for a dimension of the codes in something that goes in step with them: one index for each block.
struct Step {
    std::int64_t block = 1;
    std::uint32_t dim = 0;  ///< of no meaning if one block is all
};

/// The codes, and what goes in step with them.
struct Pair {
    std::string const& codes;
    std::string const& follower;
    Shape const& shape;  ///< of the codes
};

/// What a cut finds along its dimension, for every rank that may find something else.
std::vector<Placement::Block> blocks_of(Placement::AxisCut const& cut, Placement const& before, Shape const& shape,
                                        Mesh const& mesh) {
    if (!cut.blocks.empty()) { return cut.blocks; }
    std::vector<Placement::Block> blocks;
    for (std::int64_t rank = 0; rank < mesh.copy_ranks(); ++rank) {
        blocks.push_back({local_shape(before, shape, mesh, rank)[cut.dim], mesh.size(cut.axis), 1});
    }
    return blocks;
}

Placement in_step(Pair const& pair, Placement const& codes, std::vector<Step> const& steps, Mesh const& mesh) {
    Placement placement;
    Placement before;
    for (auto const& cut : codes.cuts) {
        auto const [block, dim] = steps[cut.dim];
        auto const found = blocks_of(cut, before, pair.shape, mesh);
        before.cuts.push_back(cut);
        auto const is_within_block = [&](auto const& part) { return part.size == block || part.size == 0; };
        if (std::ranges::all_of(found, is_within_block)) { continue; }
        for (auto const& part : found) {
            auto const piece = ceil_div(part.size, part.parts);
            if (part.size % block == 0 && (part.parts == 1 || piece % block == 0)) { continue; }
            throw Error(Errc::input,
                        fmt::format("{} is cut into pieces of {} along dimension {}, which cuts its blocks of {} ({}); "
                                    "--quantized dequantize loads it with any cut",
                                    pair.codes, piece, cut.dim, block, pair.follower));
        }
        auto scaled = cut;
        scaled.dim = dim;
        for (auto& part : scaled.blocks) { part.size /= block; }
        placement.cuts.push_back(std::move(scaled));
    }
    return placement;
}

Placement placement_of_scales(Parameter const& codes, Parameter const& scales, Mesh const& mesh,
                              std::optional<BlockSize> const& stated) {
    auto const& shape = codes.value.shape;
    auto const& of_scales = scales.value.shape;
    if (of_scales.num_elements() <= 1 || codes.placement.cuts.empty()) { return {}; }
    auto const blocks = block_extents(shape, of_scales, stated);
    if (!blocks && is_whole(codes.placement, mesh)) { return {}; }
    if (!blocks) {
        throw Error(Errc::input, fmt::format("{} of shape {} is cut, but {} of shape {} does not divide it into whole "
                                             "blocks that could be cut with it",
                                             codes.name, to_string(shape), scales.name, to_string(of_scales)));
    }
    auto const missing = shape.rank() - of_scales.rank();
    std::vector<Step> steps;
    for (std::size_t dim = 0; dim < shape.rank(); ++dim) {
        steps.push_back({(*blocks)[dim], static_cast<std::uint32_t>(dim < missing ? 0 : dim - missing)});
    }
    return in_step({codes.name, scales.name, shape}, codes.placement, steps, mesh);
}

/// MXFP4 has one scale a block, and only the bytes inside a block are never cut.
Placement placement_beside_blocks(Parameter const& blocks, Parameter const& scales) {
    if (scales.value.shape == blocks.value.shape.without(blocks.value.shape.rank() - 1)) { return blocks.placement; }
    throw Error(Errc::input, fmt::format("{} of shape {} are not one for each block of {} of shape {}", scales.name,
                                         to_string(scales.value.shape), blocks.name, to_string(blocks.value.shape)));
}

/// What the scales of a parameter would be called; nothing if it is no codes.
std::vector<std::string> names_of_scales(std::string const& name, Expression const& value) {
    if (auto const view = view_of_blocks(name, value)) { return {view->name + "_scales"}; }
    return is_codes(value.dtype) ? scale_names(name) : std::vector<std::string>();
}

}  // namespace

std::set<std::string> kept_scale_names(std::vector<NamedExpression> const& parameters) {
    std::set<std::string> present;
    for (auto const& parameter : parameters) { present.insert(parameter.name); }
    std::set<std::string> names;
    for (auto const& parameter : parameters) {
        for (auto& name : names_of_scales(parameter.name, parameter.value)) {
            if (present.contains(name)) { names.insert(std::move(name)); }
        }
    }
    return names;
}

void cut_scales_with_codes(std::vector<Parameter>& parameters, Mesh const& mesh,
                           std::optional<BlockSize> const& stated) {
    std::map<std::string, std::size_t> index_of;
    for (std::size_t i = 0; i < parameters.size(); ++i) { index_of.emplace(parameters[i].name, i); }
    for (auto const& codes : parameters) {
        for (auto const& name : names_of_scales(codes.name, codes.value)) {
            auto const found = index_of.find(name);
            if (found == index_of.end()) { continue; }
            auto& scales = parameters[found->second];
            scales.placement = codes.value.dtype == DType::u8 ? placement_beside_blocks(codes, scales)
                                                              : placement_of_scales(codes, scales, mesh, stated);
        }
    }
}

std::optional<RuleView> view_of_blocks(std::string const& name, Expression const& value) {
    auto const& shape = value.shape;
    auto const rank = shape.rank();
    bool const is_mxfp4 =
        value.dtype == DType::u8 && name.ends_with(kBlocks) && rank >= 3 && shape[rank - 1] == kBlockBytes;
    if (!is_mxfp4) { return std::nullopt; }
    auto seen = shape.without(rank - 1);
    seen[rank - 2] = shape[rank - 3];
    seen[rank - 3] = shape[rank - 2] * kBlockCodes;
    return RuleView{name.substr(0, name.size() - kBlocks.size()), seen};
}

Placement placement_of_blocks(RuleView const& view, Placement const& placement, Mesh const& mesh) {
    std::vector<Step> steps;
    auto const rank = static_cast<std::uint32_t>(view.shape.rank());
    for (std::uint32_t dim = 0; dim + 2 < rank; ++dim) { steps.push_back({1, dim}); }
    steps.push_back({kBlockCodes, rank - 1});
    steps.push_back({1, rank - 2});
    return in_step({view.name, view.name + std::string(kBlocks), view.shape}, placement, steps, mesh);
}

}  // namespace shardwise
