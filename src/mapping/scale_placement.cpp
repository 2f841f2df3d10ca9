#include "mapping/scale_placement.hpp"

#include <map>

#include <fmt/format.h>

#include <shardwise/block_grid.hpp>
#include <shardwise/error.hpp>

#include "util/checked.hpp"

namespace shardwise {
namespace {

bool is_codes(DType dtype) {
    return dtype == DType::f8_e4m3 || dtype == DType::f8_e5m2 || dtype == DType::f8_e4m3fnuz ||
           dtype == DType::f8_e5m2fnuz;
}

std::vector<std::string> scale_names(std::string const& codes) {
    std::vector<std::string> names = {codes + "_scale_inv", codes + "_scale"};
    constexpr std::string_view kWeight = ".weight";
    if (codes.ends_with(kWeight)) { names.push_back(codes.substr(0, codes.size() - kWeight.size()) + ".scale"); }
    return names;
}

/// Elements of the codes along a dimension for one of the scales.
std::int64_t block_of(Shape const& codes, Shape const& scales, std::size_t dim) {
    auto const missing = codes.rank() - scales.rank();
    return dim < missing ? codes[dim] : codes[dim] / scales[dim - missing];
}

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

Placement placement_of_scales(Parameter const& codes, Shape const& scales, std::string const& name, Mesh const& mesh) {
    auto const& shape = codes.value.shape;
    bool const has_blocks = find_block_grid(shape, scales).has_value();  // else it is something else
    if (scales.num_elements() <= 1 || !has_blocks) { return {}; }
    Placement placement;
    Placement before;
    for (auto const& cut : codes.placement.cuts) {
        auto const block = block_of(shape, scales, cut.dim);
        auto const found = blocks_of(cut, before, shape, mesh);
        before.cuts.push_back(cut);
        if (block == shape[cut.dim]) { continue; }
        for (auto const& part : found) {
            auto const piece = ceil_div(part.size, part.parts);
            if (part.size % block == 0 && (part.parts == 1 || piece % block == 0)) { continue; }
            throw Error(Errc::input,
                        fmt::format("{} is cut into pieces of {} along dimension {}, which cuts its blocks of {} ({}); "
                                    "--quantized dequantize loads it with any cut",
                                    codes.name, piece, cut.dim, block, name));
        }
        auto scaled = cut;
        scaled.dim -= static_cast<std::uint32_t>(shape.rank() - scales.rank());
        for (auto& part : scaled.blocks) { part.size /= block; }
        placement.cuts.push_back(std::move(scaled));
    }
    return placement;
}

}  // namespace

void cut_scales_with_codes(std::vector<Parameter>& parameters, Mesh const& mesh) {
    std::map<std::string, std::size_t> index_of;
    for (std::size_t i = 0; i < parameters.size(); ++i) { index_of.emplace(parameters[i].name, i); }
    for (auto const& codes : parameters) {
        if (!is_codes(codes.value.dtype)) { continue; }
        for (auto const& name : scale_names(codes.name)) {
            auto const found = index_of.find(name);
            if (found == index_of.end()) { continue; }
            auto& scales = parameters[found->second];
            scales.placement = placement_of_scales(codes, scales.value.shape, scales.name, mesh);
        }
    }
}

}  // namespace shardwise
