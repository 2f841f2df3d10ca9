#include "support/random_expression.hpp"

#include <algorithm>

namespace shardwise::test {
namespace {

std::int64_t pick(std::mt19937& random, std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

std::size_t pick_dim(std::mt19937& random, std::size_t count) {
    return static_cast<std::size_t>(pick(random, 0, static_cast<std::int64_t>(count) - 1));
}

class Grower {
   public:
    explicit Grower(std::mt19937& random) : random_(random) {}

    Expression leaf(Shape const& shape) {
        TensorRecord record;
        record.shape = shape;
        record.dtype = DType::u16;
        result.sources.push_back(shape);
        return stored(static_cast<std::uint32_t>(result.sources.size() - 1), record);
    }

    /// One more operation on top; operations that do not fit the shape leave it as it is.
    Expression grow(Expression input) {
        auto const shape = input.shape;
        auto const rank = shape.rank();
        if (rank == 0) { return stack_with_new_leaves(std::move(input)); }
        auto const dim = pick_dim(random_, rank);
        auto const extent = shape[dim];
        switch (pick(random_, 0, 8)) {
            case 0: {
                auto const begin = pick(random_, 0, extent);
                return slice_of(std::move(input), dim, begin, pick(random_, begin, extent));
            }
            case 1:
                return extent > 0 && rank > 1 ? select_of(std::move(input), dim, pick(random_, 0, extent - 1)) : input;
            case 2: return concatenate_with_new_leaves(std::move(input), dim);
            case 3: return rank < 4 ? stack_with_new_leaves(std::move(input)) : input;
            case 4: return transpose_of(std::move(input), dim, pick_dim(random_, rank));
            case 5: return dim + 1 < rank ? merged_dims_of(std::move(input), dim) : input;
            case 6: {
                auto const inner = pick(random_, 1, 4);
                return rank < 4 && extent % inner == 0 ? split_dim_of(std::move(input), dim, inner) : input;
            }
            default: {
                auto const groups = pick(random_, 1, 4);
                bool const fits = extent % groups == 0 && extent / groups % 2 == 0;
                return fits ? interleave_of(std::move(input), dim, groups, pick(random_, 0, 1) == 1) : input;
            }
        }
    }

    RandomCase result;

   private:
    Expression concatenate_with_new_leaves(Expression input, std::size_t dim) {
        auto const shape = input.shape;
        std::vector<Expression> parts;
        parts.push_back(std::move(input));
        for (auto more = pick(random_, 1, 2); more > 0; --more) {
            Shape other = shape;
            other[dim] = pick(random_, 0, 5);
            parts.push_back(leaf(other));
        }
        std::shuffle(parts.begin(), parts.end(), random_);
        return concatenation_of(std::move(parts), dim);
    }

    Expression stack_with_new_leaves(Expression input) {
        auto const shape = input.shape;
        std::vector<Expression> parts;
        parts.push_back(std::move(input));
        for (auto more = pick(random_, 0, 3); more > 0; --more) { parts.push_back(leaf(shape)); }
        std::shuffle(parts.begin(), parts.end(), random_);
        return stack_of(std::move(parts), pick_dim(random_, shape.rank() + 1));
    }

    std::mt19937& random_;
};

}  // namespace

std::vector<NaiveTensor> RandomCase::contents() const {
    std::vector<NaiveTensor> tensors;
    std::int64_t next = 0;
    for (auto const& shape : sources) {
        tensors.push_back(counting(shape, next));
        next += shape.num_elements();
    }
    return tensors;
}

RandomCase random_case(std::mt19937& random) {
    Grower grower(random);
    static std::vector<std::int64_t> const kExtents = {0, 1, 2, 3, 4, 5, 6, 8, 12};
    std::vector<std::int64_t> extents;
    for (auto rank = pick(random, 1, 3); rank > 0; --rank) {
        extents.push_back(kExtents[pick_dim(random, kExtents.size() * 4) % kExtents.size()]);
    }
    auto expression = grower.leaf(Shape(extents));
    for (auto steps = pick(random, 0, 6); steps > 0; --steps) { expression = grower.grow(std::move(expression)); }
    grower.result.expression = std::move(expression);
    return std::move(grower.result);
}

Placement random_placement(std::mt19937& random, Shape const& shape, Mesh const& mesh) {
    Placement placement;
    // Half of them lie on the experts' view of the mesh, where it is another one.
    bool const is_expert = mesh.expert_ranks() != mesh.tp && pick(random, 0, 1) == 1;
    auto const axis = is_expert ? MeshAxis::ep : MeshAxis::tp;
    auto const ranks = is_expert ? mesh.ep : mesh.tp;
    auto const dim = static_cast<std::uint32_t>(pick_dim(random, shape.rank()));
    auto const kind = pick(random, 0, 3);
    if (kind == 1) { placement.cuts.push_back({Placement::Kind::shard, dim, {{shape[dim], ranks, 1}}, axis}); }
    if (kind > 1) {
        std::vector<Placement::Block> blocks;
        std::int64_t left = shape[dim];
        for (auto more = pick(random, 1, 3); more > 0; --more) {
            auto const size = more == 1 ? left : pick(random, 0, left);
            auto const repeat = kind == 3 && ranks % 2 == 0 ? pick(random, 1, 2) : 1;
            blocks.push_back({size, ranks / repeat, repeat});
            left -= size;
        }
        placement.cuts.push_back({Placement::Kind::packed, dim, std::move(blocks), axis});
    }
    if (mesh.fsdp * mesh.tp > ranks) {
        placement.cuts.push_back({Placement::Kind::shard, 0, {}, is_expert ? MeshAxis::efsdp : MeshAxis::fsdp});
    }
    switch (mesh.pp > 1 ? pick(random, 0, 3) : 0) {
        case 1:
            placement.stages = {0, mesh.pp - 1};
            break;
        case 2:
            placement.stages = {pick(random, 0, mesh.pp - 1)};
            break;
        default:
            break;
    }
    return placement;
}

}  // namespace shardwise::test
