#include "plan/scalings.hpp"

#include <algorithm>

#include "util/checked.hpp"

namespace shardwise {
namespace {

void collect_grids(Expression const& expression, std::map<std::uint32_t, BlockGrid>& grids) {
    if (expression.kind == Expression::Kind::dequantize) {
        grids.emplace(expression.inputs[1].source, grid_of(expression));
    }
    for (auto const& input : expression.inputs) { collect_grids(input, grids); }
}

/// Numbers of scales, half-open.
struct ScaleRange {
    std::uint64_t begin = ~std::uint64_t{0};
    std::uint64_t end = 0;
};

/// The rows of scales between a block's first element and its last.
ScaleRange scales_of(CopyBlock const& block, BlockGrid const& grid) {
    auto const elements = block.source_span() * 8 / static_cast<std::uint64_t>(bits(block.cast.from));
    auto const first = block.cast.first_element / grid.columns;
    auto const last = (block.cast.first_element + elements - 1) / grid.columns;
    if (first / grid.repeat_rows != last / grid.repeat_rows) {
        return {0, ceil_div(grid.repeat_rows, grid.block_rows) * grid.grid_columns};
    }
    auto const row_of = [&](std::uint64_t row) { return row % grid.repeat_rows / grid.block_rows; };
    return {row_of(first) * grid.grid_columns, (row_of(last) + 1) * grid.grid_columns};
}

/// Calls @p visit for the blocks of some deliveries of a wave.
template <class Visit>
void for_each_block(Wave& wave, std::vector<Delivery> const& deliveries, Visit visit) {
    for (auto const& delivery : deliveries) {
        auto const [first, count] = delivery.blocks;
        for (auto& block : std::span(wave.blocks).subspan(first, count)) { visit(block); }
    }
}

/// Calls @p visit for every block that this rank puts in place.
template <class Visit>
void for_each_own_block(Plan& plan, Visit visit) {
    for (auto& block : plan.direct_blocks) { visit(block); }
    for (auto& wave : plan.waves) { for_each_block(wave, wave.receives, visit); }
}

}  // namespace

std::map<std::uint32_t, BlockGrid> grids_of(std::span<Parameter const> parameters) {
    std::map<std::uint32_t, BlockGrid> grids;
    for (auto const& parameter : parameters) { collect_grids(parameter.value, grids); }
    return grids;
}

void add_scalings(Plan& plan, Catalog const& catalog, std::span<Parameter const> parameters) {
    auto const grids = grids_of(parameters);
    if (grids.empty()) { return; }
    std::map<std::uint32_t, ScaleRange> needed;
    for_each_own_block(plan, [&](CopyBlock const& block) {
        if (block.cast.scaling == kUnscaled) { return; }
        auto const range = scales_of(block, grids.at(block.cast.scaling));
        auto& all = needed[block.cast.scaling];
        all = {std::min(all.begin, range.begin), std::max(all.end, range.end)};
    });
    std::map<std::uint32_t, std::uint32_t> index_of;
    for (auto const& [source, range] : needed) {
        auto const& stored = catalog.tensors()[source];
        auto const scale_bytes = static_cast<std::uint64_t>(bits(stored.dtype)) / 8;
        index_of.emplace(source, static_cast<std::uint32_t>(plan.scalings.size()));
        FileRange const file_range = {stored.file, stored.begin + range.begin * scale_bytes,
                                      (range.end - range.begin) * scale_bytes};
        plan.scalings.push_back({file_range, stored.dtype, range.begin, grids.at(source)});
        plan.totals.read_bytes += file_range.size_bytes;
        plan.totals.needed_bytes += file_range.size_bytes;
        ++plan.totals.requests;
    }
    for_each_own_block(plan, [&](CopyBlock& block) {
        if (block.cast.scaling != kUnscaled) { block.cast.scaling = index_of.at(block.cast.scaling); }
    });
    for (auto& wave : plan.waves) {
        for_each_block(wave, wave.sends, [](CopyBlock& block) { block.cast.scaling = kUnscaled; });
    }
}

}  // namespace shardwise
