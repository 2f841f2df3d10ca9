#include "support/naive_tensor.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

namespace shardwise::test {
namespace {

using Index = std::vector<std::int64_t>;

std::size_t flat(Shape const& shape, Index const& index) {
    std::int64_t at = 0;
    for (std::size_t dim = 0; dim < shape.rank(); ++dim) { at = at * shape[dim] + index[dim]; }
    return static_cast<std::size_t>(at);
}

/// A tensor of @p shape whose element at each index is `value(index)`.
NaiveTensor make(Shape const& shape, std::function<std::int64_t(Index const&)> const& value) {
    NaiveTensor result{shape, {}};
    auto const count = shape.num_elements();
    Index index(shape.rank(), 0);
    for (std::int64_t i = 0; i < count; ++i) {
        result.values.push_back(value(index));
        for (std::size_t dim = shape.rank(); dim-- > 0;) {
            if (++index[dim] < shape[dim]) { break; }
            index[dim] = 0;
        }
    }
    return result;
}

std::int64_t at(NaiveTensor const& tensor, Index const& index) {
    return tensor.values[flat(tensor.shape, index)];
}

}  // namespace

NaiveTensor joined(std::vector<NaiveTensor> const& parts, std::size_t dim) {
    Shape shape = parts.front().shape;
    shape[dim] = 0;
    for (auto const& part : parts) { shape[dim] += part.shape[dim]; }
    return make(shape, [&](Index index) {
        for (auto const& part : parts) {
            if (index[dim] < part.shape[dim]) { return at(part, index); }
            index[dim] -= part.shape[dim];
        }
        return std::int64_t{-1};
    });
}

NaiveTensor stacked(std::vector<NaiveTensor> const& parts, std::size_t dim) {
    auto const shape = parts.front().shape.with_inserted(dim, static_cast<std::int64_t>(parts.size()));
    return make(shape, [&](Index index) {
        auto const& part = parts[static_cast<std::size_t>(index[dim])];
        index.erase(index.begin() + static_cast<std::ptrdiff_t>(dim));
        return at(part, index);
    });
}

NaiveTensor interleaved(NaiveTensor const& input, std::size_t dim, std::int64_t groups, bool inverse) {
    auto const length = input.shape[dim] / groups;
    return make(input.shape, [&](Index index) {
        auto const group = index[dim] / length;
        auto const place = index[dim] % length;
        index[dim] = inverse ? group * length + (place % 2) * (length / 2) + place / 2
                             : group * length + 2 * (place % (length / 2)) + place / (length / 2);
        return at(input, index);
    });
}

NaiveTensor sliced(NaiveTensor const& input, std::size_t dim, std::int64_t begin, std::int64_t end) {
    Shape shape = input.shape;
    shape[dim] = end - begin;
    return make(shape, [&](Index index) {
        index[dim] += begin;
        return at(input, index);
    });
}

NaiveTensor swapped(NaiveTensor const& input, std::size_t dim0, std::size_t dim1) {
    Shape shape = input.shape;
    std::swap(shape[dim0], shape[dim1]);
    return make(shape, [&](Index index) {
        std::swap(index[dim0], index[dim1]);
        return at(input, index);
    });
}

NaiveTensor counting(Shape const& shape, std::int64_t first) {
    NaiveTensor tensor{shape, std::vector<std::int64_t>(static_cast<std::size_t>(shape.num_elements()))};
    std::iota(tensor.values.begin(), tensor.values.end(), first);
    return tensor;
}

NaiveTensor naive(Expression const& expression, std::vector<NaiveTensor> const& sources) {
    if (expression.kind == Expression::Kind::source) { return sources[expression.source]; }
    std::vector<NaiveTensor> inputs;
    for (auto const& input : expression.inputs) { inputs.push_back(naive(input, sources)); }
    auto const& first = inputs.front();
    // Values here are places in the checkpoint, whatever becomes of what lies there.
    if (expression.kind == Expression::Kind::cast || expression.kind == Expression::Kind::dequantize) { return first; }
    std::size_t const dim = expression.dim;
    switch (expression.kind) {
        case Expression::Kind::slice:
            return sliced(first, dim, expression.begin, expression.begin + expression.shape[dim]);
        case Expression::Kind::select:
            return make(expression.shape, [&](Index index) {
                index.insert(index.begin() + static_cast<std::ptrdiff_t>(dim), expression.begin);
                return at(first, index);
            });
        case Expression::Kind::concatenate:
            return joined(inputs, dim);
        case Expression::Kind::stack:
            return stacked(inputs, dim);
        case Expression::Kind::transpose:
            return swapped(first, dim, expression.dim1);
        case Expression::Kind::interleave:
            return interleaved(first, dim, expression.groups, expression.inverse);
        case Expression::Kind::merge_dims:
        case Expression::Kind::split_dim:
            return {expression.shape, first.values};  // row-major order does not change
        case Expression::Kind::source:
        case Expression::Kind::cast:
        case Expression::Kind::dequantize:
            break;
    }
    return {};
}

namespace {

/// Place of a rank along an axis: the last axis of either view varies fastest.
std::int64_t place_along(MeshAxis axis, Mesh const& mesh, std::int64_t rank) {
    auto const ep = mesh.ep == 0 ? mesh.tp : mesh.ep;
    auto const in_copy = rank % (mesh.fsdp * mesh.tp);
    switch (axis) {
        case MeshAxis::tp:
            return in_copy % mesh.tp;
        case MeshAxis::fsdp:
            return in_copy / mesh.tp;
        case MeshAxis::ep:
            return in_copy % ep;
        case MeshAxis::efsdp:
            return in_copy / ep;
    }
    return -1;
}

std::int64_t ranks_along(MeshAxis axis, Mesh const& mesh) {
    auto const ep = mesh.ep == 0 ? mesh.tp : mesh.ep;
    switch (axis) {
        case MeshAxis::tp:
            return mesh.tp;
        case MeshAxis::fsdp:
            return mesh.fsdp;
        case MeshAxis::ep:
            return ep;
        case MeshAxis::efsdp:
            return mesh.fsdp * mesh.tp / ep;
    }
    return -1;
}

NaiveTensor naive_cut(NaiveTensor const& whole, Placement::AxisCut const& cut, Mesh const& mesh, std::int64_t rank) {
    auto blocks = cut.blocks;
    if (blocks.empty()) { blocks = {{whole.shape[cut.dim], ranks_along(cut.axis, mesh), 1}}; }
    auto const place = place_along(cut.axis, mesh, rank);
    std::vector<std::int64_t> kept;  // indices of the cut dimension, in local order
    std::int64_t block_begin = 0;
    for (auto const& block : blocks) {
        std::int64_t const piece = block.size == 0 ? 0 : (block.size - 1) / block.parts + 1;
        for (std::int64_t i = 0; i < block.size; ++i) {
            if (i / piece == place / block.repeat) { kept.push_back(block_begin + i); }
        }
        block_begin += block.size;
    }
    Shape shape = whole.shape;
    shape[cut.dim] = static_cast<std::int64_t>(kept.size());
    return make(shape, [&](Index index) {
        index[cut.dim] = kept[static_cast<std::size_t>(index[cut.dim])];
        return at(whole, index);
    });
}

}  // namespace

NaiveTensor naive_cut(NaiveTensor const& whole, Placement const& placement, Mesh const& mesh, std::int64_t rank) {
    auto left = whole;
    for (auto const& cut : placement.cuts) { left = naive_cut(left, cut, mesh, rank); }
    return left;
}

bool naively_holds(Placement const& placement, Mesh const& mesh, std::int64_t rank) {
    auto const stage = rank / (mesh.dp * mesh.fsdp * mesh.tp);
    auto const& stages = placement.stages;
    return stages.empty() || std::count(stages.begin(), stages.end(), stage) > 0;
}

}  // namespace shardwise::test
