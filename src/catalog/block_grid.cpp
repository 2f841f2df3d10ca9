#include <shardwise/block_grid.hpp>

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

/// The extent of @p shape that many dimensions from the end, counted from 1.
std::int64_t from_end(Shape const& shape, std::size_t dim) {
    return shape[shape.rank() - dim];
}

std::int64_t blocks_in(std::int64_t extent, std::int64_t block) {
    return (extent + block - 1) / block;
}

/// Blocks of a stated size. Stacked matrices have rows that count through, so their blocks must be whole.
std::optional<BlockGrid> stated_grid(Shape const& codes, Shape const& scales, BlockSize const& size) {
    auto const rows = from_end(codes, 2);
    auto const columns = from_end(codes, 1);
    bool const is_one_matrix = codes.num_elements() == rows * columns;
    if (rows % size.rows != 0 && !is_one_matrix) { return std::nullopt; }
    BlockGrid grid;
    grid.columns = static_cast<std::uint64_t>(columns);
    grid.block_rows = static_cast<std::uint64_t>(size.rows);
    grid.block_columns = static_cast<std::uint64_t>(size.columns);
    grid.grid_columns = static_cast<std::uint64_t>(from_end(scales, 1));
    auto const matrices = scales.num_elements() / (from_end(scales, 1) * from_end(scales, 2));
    grid.repeat_rows = static_cast<std::uint64_t>(matrices * rows);
    return grid;
}

}  // namespace

bool fits_blocks(Shape const& codes, Shape const& scales, BlockSize const& size) {
    bool fits = scales.rank() >= 2 && scales.rank() <= codes.rank() && scales.num_elements() > 0 && size.rows > 0 &&
                size.columns > 0 && from_end(scales, 1) == blocks_in(from_end(codes, 1), size.columns) &&
                from_end(scales, 2) == blocks_in(from_end(codes, 2), size.rows);
    for (std::size_t dim = 3; fits && dim <= scales.rank(); ++dim) {
        fits = from_end(codes, dim) == from_end(scales, dim);
    }
    return fits;
}

std::optional<BlockGrid> find_block_grid(Shape const& codes, Shape const& scales,
                                         std::optional<BlockSize> const& stated) {
    if (codes.rank() == 0 || codes.num_elements() == 0) { return std::nullopt; }
    if (stated && fits_blocks(codes, scales, *stated)) { return stated_grid(codes, scales, *stated); }
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
    for (std::size_t dim = 1; dim <= scales.rank(); ++dim) {
        auto const of_codes = from_end(codes, dim);
        auto const of_scales = from_end(scales, dim);
        bool const fits = of_scales > 0 && (dim <= 2 ? of_codes % of_scales == 0 : of_codes == of_scales);
        if (!fits) { return std::nullopt; }
    }
    auto const rows = static_cast<std::uint64_t>(from_end(codes, 2));
    grid.grid_columns = static_cast<std::uint64_t>(from_end(scales, 1));
    grid.block_columns = grid.columns / grid.grid_columns;
    grid.block_rows = rows / static_cast<std::uint64_t>(from_end(scales, 2));
    grid.repeat_rows = static_cast<std::uint64_t>(scales.num_elements()) / grid.grid_columns * grid.block_rows;
    return grid;
}

BlockGrid block_grid(Shape const& codes, Shape const& scales, std::optional<BlockSize> const& stated) {
    if (auto const grid = find_block_grid(codes, scales, stated)) { return *grid; }
    throw Error(Errc::input, fmt::format("scales of shape {} do not divide {} into whole blocks", to_string(scales),
                                         to_string(codes)));
}

}  // namespace shardwise
