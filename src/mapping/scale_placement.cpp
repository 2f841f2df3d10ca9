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

Placement placement_of_scales(Parameter const& codes, Shape const& scales, std::string const& name) {
    auto const& shape = codes.value.shape;
    bool const has_blocks = find_block_grid(shape, scales).has_value();  // else it is something else
    if (codes.placement.kind == Placement::Kind::replicate || scales.num_elements() <= 1 || !has_blocks) { return {}; }
    auto const dim = codes.placement.dim;
    auto const block = block_of(shape, scales, dim);
    if (block == shape[dim]) { return {}; }
    auto placement = codes.placement;
    placement.dim -= static_cast<std::uint32_t>(shape.rank() - scales.rank());
    for (auto& part : placement.blocks) {
        auto const piece = ceil_div(part.size, part.parts);
        bool const fits = part.size % block == 0 && (part.parts == 1 || piece % block == 0);
        if (!fits) {
            throw Error(Errc::input,
                        fmt::format("{} is cut into pieces of {} along dimension {}, which cuts its blocks of {} ({}); "
                                    "--quantized dequantize loads it with any cut",
                                    codes.name, piece, dim, block, name));
        }
        part.size /= block;
    }
    return placement;
}

}  // namespace

void cut_scales_with_codes(std::vector<Parameter>& parameters) {
    std::map<std::string, std::size_t> index_of;
    for (std::size_t i = 0; i < parameters.size(); ++i) { index_of.emplace(parameters[i].name, i); }
    for (auto const& codes : parameters) {
        if (!is_codes(codes.value.dtype)) { continue; }
        for (auto const& name : scale_names(codes.name)) {
            auto const found = index_of.find(name);
            if (found == index_of.end()) { continue; }
            auto& scales = parameters[found->second];
            scales.placement = placement_of_scales(codes, scales.value.shape, scales.name);
        }
    }
}

}  // namespace shardwise
