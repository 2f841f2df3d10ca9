#include "mapping/block_scales.hpp"

#include <vector>

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

using Blocks = std::vector<std::int64_t>;

/// Scales with as many dimensions as their codes, and the extents of the codes' block that each is for.
struct Scaled {
    Expression scales;
    Blocks block;
};

[[noreturn]] void refuse(std::string text) {
    throw Error(Errc::input, std::move(text));
}

Scaled scaled_leaf(Expression const& codes, Expression scales, std::optional<BlockSize> const& stated) {
    auto block = block_extents(codes.shape, scales.shape, stated);
    if (!block) {
        refuse(fmt::format("scales of shape {} do not divide {} into whole blocks", to_string(scales.shape),
                           to_string(codes.shape)));
    }
    std::vector<std::int64_t> extents;
    for (std::size_t dim = 0; dim < block->size(); ++dim) { extents.push_back(codes.shape[dim] / (*block)[dim]); }
    auto const dtype = scales.dtype;
    return {viewed_as(std::move(scales), dtype, Shape(extents)), std::move(*block)};
}

class Follower {
   public:
    Follower(ScalesOf const& scales_of, std::optional<BlockSize> const& stated)
        : scales_of_(scales_of), stated_(stated) {}

    Scaled follow(Expression const& codes) const {
        switch (codes.kind) {
            case Expression::Kind::source:
                return scaled_leaf(codes, scales_of_(codes.source), stated_);
            case Expression::Kind::slice:
                return slice(codes);
            case Expression::Kind::select:
                return select(codes);
            case Expression::Kind::concatenate:
            case Expression::Kind::stack:
                return join(codes);
            case Expression::Kind::transpose:
                return transpose(codes);
            case Expression::Kind::interleave:
                return interleave(codes);
            case Expression::Kind::merge_dims:
                return merge(codes);
            case Expression::Kind::split_dim:
                return split(codes);
            case Expression::Kind::cast:
            case Expression::Kind::dequantize:
                break;
        }
        refuse("its values are changed, so scales do not fit them any more");
    }

   private:
    /// Whole blocks, or a part of one.
    Scaled slice(Expression const& codes) const {
        auto [scales, block] = follow(codes.inputs.front());
        auto const dim = codes.dim;
        auto const begin = codes.begin;
        auto const end = begin + codes.shape[dim];
        auto const first = begin / block[dim];
        bool const is_whole_blocks = begin % block[dim] == 0 && end % block[dim] == 0;
        if (is_whole_blocks || begin == end) {
            return {slice_of(std::move(scales), dim, first, end / block[dim]), std::move(block)};
        }
        if ((end - 1) / block[dim] != first) {
            refuse(fmt::format("slice [{}, {}) of dimension {} cuts blocks of {}", begin, end, dim, block[dim]));
        }
        block[dim] = end - begin;
        return {slice_of(std::move(scales), dim, first, first + 1), std::move(block)};
    }

    Scaled select(Expression const& codes) const {
        auto [scales, block] = follow(codes.inputs.front());
        auto const at = codes.begin / block[codes.dim];
        block.erase(block.begin() + codes.dim);
        return {select_of(std::move(scales), codes.dim, at), std::move(block)};
    }

    Scaled join(Expression const& codes) const {
        bool const is_stack = codes.kind == Expression::Kind::stack;
        std::vector<Expression> parts;
        Blocks common;
        for (auto const& input : codes.inputs) {
            auto [scales, block] = follow(input);
            if (!parts.empty() && block != common) {
                refuse(fmt::format("blocks of [{}] and of [{}] are joined along dimension {}", fmt::join(common, ", "),
                                   fmt::join(block, ", "), codes.dim));
            }
            common = std::move(block);
            parts.push_back(std::move(scales));
        }
        if (!is_stack) { return {concatenation_of(std::move(parts), codes.dim), std::move(common)}; }
        common.insert(common.begin() + codes.dim, 1);
        return {stack_of(std::move(parts), codes.dim), std::move(common)};
    }

    Scaled transpose(Expression const& codes) const {
        auto [scales, block] = follow(codes.inputs.front());
        std::swap(block[codes.dim], block[codes.dim1]);
        return {transpose_of(std::move(scales), codes.dim, codes.dim1), std::move(block)};
    }

    /// One scale an index moves with it; a block of whole groups has the same elements as before, in another order.
    Scaled interleave(Expression const& codes) const {
        auto [scales, block] = follow(codes.inputs.front());
        auto const dim = codes.dim;
        auto const group = codes.shape[dim] / codes.groups;
        if (block[dim] == 1) {
            return {interleave_of(std::move(scales), dim, codes.groups, codes.inverse), std::move(block)};
        }
        if (group > 0 && block[dim] % group != 0) {
            refuse(fmt::format("dimension {} is interleaved in groups of {}, which mixes blocks of {}", dim, group,
                               block[dim]));
        }
        return {std::move(scales), std::move(block)};
    }

    Scaled merge(Expression const& codes) const {
        auto const& input = codes.inputs.front();
        auto [scales, block] = follow(input);
        auto const dim = codes.dim;
        if (block[dim] != 1 && block[dim + 1] != input.shape[dim + 1]) {
            refuse(fmt::format("blocks of {} x {} are no blocks of dimensions {} and {} of shape {} seen as one",
                               block[dim], block[dim + 1], dim, dim + 1, to_string(input.shape)));
        }
        block[dim] *= block[dim + 1];
        block.erase(block.begin() + dim + 1);
        return {merged_dims_of(std::move(scales), dim), std::move(block)};
    }

    Scaled split(Expression const& codes) const {
        auto [scales, block] = follow(codes.inputs.front());
        auto const dim = codes.dim;
        auto const inner = codes.groups;
        if (inner % block[dim] == 0) {
            auto const scales_inside = inner / block[dim];
            block.insert(block.begin() + dim, 1);
            return {split_dim_of(std::move(scales), dim, scales_inside), std::move(block)};
        }
        if (block[dim] % inner != 0) {
            refuse(fmt::format("dimension {} is split into rounds of {}, which cuts blocks of {}", dim, inner,
                               block[dim]));
        }
        block[dim] /= inner;
        block.insert(block.begin() + dim + 1, inner);
        return {split_dim_of(std::move(scales), dim, 1), std::move(block)};
    }

    ScalesOf const& scales_of_;
    std::optional<BlockSize> const& stated_;
};

/// True if the last blocks of rows or columns would be short.
bool has_short_blocks(Shape const& codes, BlockSize const& size) {
    return codes[codes.rank() - 2] % size.rows != 0 || codes[codes.rank() - 1] % size.columns != 0;
}

}  // namespace

std::optional<std::vector<std::int64_t>> block_extents(Shape const& codes, Shape const& scales,
                                                       std::optional<BlockSize> const& stated) {
    auto const rank = codes.rank();
    if (stated && fits_blocks(codes, scales, *stated) && has_short_blocks(codes, *stated)) { return std::nullopt; }
    bool const is_for_all = scales.num_elements() == 1;
    bool fits = is_for_all || (scales.rank() <= rank && (scales.rank() >= 2 || scales.rank() == rank));
    std::vector<std::int64_t> block(rank, 0);
    for (std::size_t from_end = 1; fits && from_end <= rank; ++from_end) {
        bool const is_stated = !is_for_all && from_end <= scales.rank();
        auto const of_scales = is_stated ? scales[scales.rank() - from_end] : 1;
        auto const of_codes = codes[rank - from_end];
        fits = of_codes > 0 && of_scales > 0 && of_codes % of_scales == 0;
        block[rank - from_end] = fits ? of_codes / of_scales : 0;
    }
    if (!fits) { return std::nullopt; }
    return block;
}

Expression block_scales(Expression const& codes, ScalesOf const& scales_of, std::optional<BlockSize> const& stated) {
    if (codes.kind == Expression::Kind::source) { return scales_of(codes.source); }
    return Follower(scales_of, stated).follow(codes).scales;
}

}  // namespace shardwise
