#include <shardwise/block_grid.hpp>

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {

std::optional<BlockGrid> find_block_grid(Shape const& codes, Shape const& scales) {
    if (codes.rank() == 0 || codes.num_elements() == 0) { return std::nullopt; }
    BlockGrid grid;
    grid.columns = static_cast<std::uint64_t>(codes[codes.rank() - 1]);
    auto const all_rows = static_cast<std::uint64_t>(codes.num_elements()) / grid.columns;
    grid.repeat_rows = all_rows;
    if (scales.num_elements() == 1) {
        grid.block_rows = all_rows;
        grid.block_columns = grid.columns;
        return grid;
    }
    if (codes.rank() < 2 || scales.rank() < 2 || scales.rank() > codes.rank()) { return std::nullopt; }
    for (std::size_t from_end = 1; from_end <= scales.rank(); ++from_end) {
        auto const of_codes = codes[codes.rank() - from_end];
        auto const of_scales = scales[scales.rank() - from_end];
        bool const fits = of_scales > 0 && (from_end <= 2 ? of_codes % of_scales == 0 : of_codes == of_scales);
        if (!fits) { return std::nullopt; }
    }
    auto const rows = static_cast<std::uint64_t>(codes[codes.rank() - 2]);
    grid.grid_columns = static_cast<std::uint64_t>(scales[scales.rank() - 1]);
    grid.block_columns = grid.columns / grid.grid_columns;
    grid.block_rows = rows / static_cast<std::uint64_t>(scales[scales.rank() - 2]);
    grid.repeat_rows = static_cast<std::uint64_t>(scales.num_elements()) / grid.grid_columns * grid.block_rows;
    return grid;
}

BlockGrid block_grid(Shape const& codes, Shape const& scales) {
    if (auto const grid = find_block_grid(codes, scales)) { return *grid; }
    throw Error(Errc::input, fmt::format("scales of shape {} do not divide {} into whole blocks", to_string(scales),
                                         to_string(codes)));
}

}  // namespace shardwise
