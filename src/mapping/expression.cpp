#include "mapping/expression.hpp"

#include <algorithm>
#include <span>
#include <tuple>

#include <fmt/format.h>

#include <shardwise/block_grid.hpp>
#include <shardwise/error.hpp>

namespace shardwise {
namespace {

[[noreturn]] void refuse(std::string text) { throw Error(Errc::input, std::move(text)); }

void check_dim(Shape const& shape, std::size_t dim, std::string_view what) {
    if (dim >= shape.rank()) { refuse(fmt::format("{}: no dimension {} in shape {}", what, dim, to_string(shape))); }
}

void check_same_types(std::vector<Expression> const& inputs, std::string_view what) {
    if (inputs.empty()) { refuse(fmt::format("{} of nothing", what)); }
    for (auto const& input : inputs) {
        if (input.dtype == inputs.front().dtype) { continue; }
        refuse(fmt::format("{} of different types, {} and {}", what, to_string(inputs.front().dtype),
                           to_string(input.dtype)));
    }
}

/// A node of one input that keeps type and shape until the caller changes them.
Expression node_over(Expression::Kind kind, Expression input, std::size_t dim) {
    Expression node;
    node.kind = kind;
    node.dtype = input.dtype;
    node.shape = input.shape;
    node.dim = static_cast<std::uint32_t>(dim);
    node.inputs.push_back(std::move(input));
    return node;
}

Expression node_over(Expression::Kind kind, std::vector<Expression> inputs, std::size_t dim) {
    Expression node;
    node.kind = kind;
    node.dtype = inputs.front().dtype;
    node.dim = static_cast<std::uint32_t>(dim);
    node.inputs = std::move(inputs);
    return node;
}

View interleave(View const& view, std::size_t dim, std::int64_t groups, bool inverse) {
    auto const half = view.shape[dim] / groups / 2;
    auto const inner = inverse ? half : 2;
    auto const outer = inverse ? 2 : half;
    auto const grouped = split_dim(split_dim(view, dim, inner), dim, outer);
    return merge_dims(merge_dims(transpose(grouped, dim + 1, dim + 2), dim), dim);
}

View evaluate_source(Expression const& expression) {
    auto view = whole(expression.source, expression.shape);
    for (auto& region : view.regions) { region.dtype = expression.dtype; }
    return view;
}

View evaluate_dequantized(Expression const& expression) {
    auto view = evaluate_source(expression.inputs[0]);
    for (auto& region : view.regions) { region.scales = expression.inputs[1].source; }
    return view;
}

/// The stored tensor at the end of a chain of operations of one input each, or its dequantization; null if several are
/// joined on the way.
Expression const* only_leaf(Expression const& expression) {
    auto const* node = &expression;
    while (node->kind != Expression::Kind::source && node->kind != Expression::Kind::dequantize) {
        if (node->inputs.size() != 1) { return nullptr; }
        node = &node->inputs.front();
    }
    return node;
}

/// Whether two chains that end in one leaf each differ in nothing but which tensors these are.
bool are_alike(Expression const& a, Expression const& b) {
    auto const operation = [](Expression const& e) {
        return std::tie(e.kind, e.dtype, e.inverse, e.dim, e.dim1, e.begin, e.groups);
    };
    return operation(a) == operation(b) && a.shape == b.shape &&
           std::equal(a.inputs.begin(), a.inputs.end(), b.inputs.begin(), b.inputs.end(), are_alike);
}

/// Makes regions of another tensor, or dequantization, out of regions of one like it.
void point_to(std::span<Region> regions, Expression const& leaf) {
    bool const is_dequantized = leaf.kind == Expression::Kind::dequantize;
    for (auto& region : regions) {
        region.source = is_dequantized ? leaf.inputs[0].source : leaf.source;
        if (is_dequantized) { region.scales = leaf.inputs[1].source; }
    }
}

/// Experts differ in their tensors only: what the first one looks like, all do.
View evaluate_joined(Expression const& expression) {
    auto const part_of = [&](Expression const& input) {
        bool const is_stack = expression.kind == Expression::Kind::stack;
        return is_stack ? unsqueeze(evaluate(input), expression.dim) : evaluate(input);
    };
    auto const& first = expression.inputs.front();
    auto const first_part = part_of(first);
    View joined{first_part.shape, {}};
    joined.shape[expression.dim] = 0;
    joined.regions.reserve(first_part.regions.size() * expression.inputs.size());
    for (auto const& input : expression.inputs) {
        auto const* const leaf = only_leaf(input);
        bool const is_like_first = leaf != nullptr && are_alike(input, first);
        if (!is_like_first) {
            append(joined, part_of(input), expression.dim);
            continue;
        }
        append(joined, first_part, expression.dim);
        point_to(std::span(joined.regions).last(first_part.regions.size()), *leaf);
    }
    return joined;
}

char const* verb(Expression const& expression) {
    switch (expression.kind) {
        case Expression::Kind::source: return "source";
        case Expression::Kind::cast: return "cast";
        case Expression::Kind::dequantize: return "dequantize";
        case Expression::Kind::slice: return "slice";
        case Expression::Kind::select: return "select";
        case Expression::Kind::concatenate: return "concatenate";
        case Expression::Kind::stack: return "stack";
        case Expression::Kind::transpose: return "transpose";
        case Expression::Kind::interleave: return expression.inverse ? "inverse interleave" : "interleave";
        case Expression::Kind::merge_dims: return "merge dimensions";
        case Expression::Kind::split_dim: return "split dimension";
    }
    return "unknown";
}

std::string details(Expression const& expression) {
    switch (expression.kind) {
        case Expression::Kind::cast:
        case Expression::Kind::dequantize: return std::string(to_string(expression.dtype));
        case Expression::Kind::slice:
            return fmt::format("{} [{}, {})", expression.dim, expression.begin,
                               expression.begin + expression.shape[expression.dim]);
        case Expression::Kind::select: return fmt::format("{} at {}", expression.dim, expression.begin);
        case Expression::Kind::transpose: return fmt::format("{},{}", expression.dim, expression.dim1);
        case Expression::Kind::interleave: return fmt::format("{} in {} group(s)", expression.dim, expression.groups);
        case Expression::Kind::merge_dims: return fmt::format("{},{}", expression.dim, expression.dim + 1);
        case Expression::Kind::split_dim: return fmt::format("{} by {}", expression.dim, expression.groups);
        default: return fmt::format("{}", expression.dim);
    }
}

}  // namespace

Expression stored(std::uint32_t source, TensorRecord const& tensor) {
    Expression node;
    node.source = source;
    node.dtype = tensor.dtype;
    node.shape = tensor.shape;
    return node;
}

Expression cast_of(Expression leaf, DType dtype) {
    if (leaf.dtype == dtype) { return leaf; }
    auto node = node_over(Expression::Kind::cast, std::move(leaf), 0);
    node.dtype = dtype;
    return node;
}

Expression viewed_as(Expression leaf, DType dtype, Shape const& shape) {
    if (leaf.shape.num_elements() * bits(leaf.dtype) != shape.num_elements() * bits(dtype)) {
        refuse(fmt::format("{} {} cannot be seen as {} {}", to_string(leaf.dtype), to_string(leaf.shape),
                           to_string(dtype), to_string(shape)));
    }
    leaf.dtype = dtype;
    leaf.shape = shape;
    return leaf;
}

Expression dequantization_of(Expression codes, Expression scales, DType dtype, std::optional<BlockSize> const& stated) {
    block_grid(codes.shape, scales.shape, stated);  // refuses what does not fit
    auto node = node_over(Expression::Kind::dequantize, std::move(codes), 0);
    node.dtype = dtype;
    node.inputs.push_back(std::move(scales));
    if (stated) {
        node.begin = stated->rows;
        node.groups = stated->columns;
    }
    return node;
}

BlockGrid grid_of(Expression const& dequantization) {
    auto const& [rows, columns] = std::pair(dequantization.begin, dequantization.groups);
    auto const stated = rows > 0 ? std::optional(BlockSize{rows, columns}) : std::nullopt;
    return block_grid(dequantization.inputs[0].shape, dequantization.inputs[1].shape, stated);
}

Expression slice_of(Expression input, std::size_t dim, std::int64_t begin, std::int64_t end) {
    check_dim(input.shape, dim, "slice");
    if (begin < 0 || begin > end || end > input.shape[dim]) {
        refuse(fmt::format("slice [{}, {}) leaves dimension {} of shape {}", begin, end, dim, to_string(input.shape)));
    }
    auto node = node_over(Expression::Kind::slice, std::move(input), dim);
    node.begin = begin;
    node.shape[dim] = end - begin;
    return node;
}

Expression select_of(Expression input, std::size_t dim, std::int64_t index) {
    check_dim(input.shape, dim, "select");
    if (index < 0 || index >= input.shape[dim]) {
        refuse(fmt::format("no index {} in dimension {} of shape {}", index, dim, to_string(input.shape)));
    }
    auto node = node_over(Expression::Kind::select, std::move(input), dim);
    node.begin = index;
    node.shape = node.shape.without(dim);
    return node;
}

Expression concatenation_of(std::vector<Expression> inputs, std::size_t dim) {
    check_same_types(inputs, "concatenation");
    Shape shape = inputs.front().shape;
    check_dim(shape, dim, "concatenation");
    shape[dim] = 0;
    for (auto const& input : inputs) {
        Shape rest = input.shape;
        if (rest.rank() == shape.rank()) { rest[dim] = shape[dim]; }
        if (rest != shape) {
            refuse(fmt::format("shapes {} and {} cannot be joined along dimension {}", to_string(inputs.front().shape),
                               to_string(input.shape), dim));
        }
        shape[dim] += input.shape[dim];
    }
    auto node = node_over(Expression::Kind::concatenate, std::move(inputs), dim);
    node.shape = shape;
    return node;
}

Expression stack_of(std::vector<Expression> inputs, std::size_t dim) {
    check_same_types(inputs, "stack");
    Shape const shape = inputs.front().shape;
    if (dim > shape.rank()) {
        refuse(fmt::format("stack: no place {} for a new dimension in shape {}", dim, to_string(shape)));
    }
    for (auto const& input : inputs) {
        if (input.shape == shape) { continue; }
        refuse(fmt::format("shapes {} and {} cannot be stacked", to_string(shape), to_string(input.shape)));
    }
    auto const count = static_cast<std::int64_t>(inputs.size());
    auto node = node_over(Expression::Kind::stack, std::move(inputs), dim);
    node.shape = shape.with_inserted(dim, count);
    return node;
}

Expression transpose_of(Expression input, std::size_t dim0, std::size_t dim1) {
    check_dim(input.shape, dim0, "transpose");
    check_dim(input.shape, dim1, "transpose");
    auto node = node_over(Expression::Kind::transpose, std::move(input), dim0);
    node.dim1 = static_cast<std::uint32_t>(dim1);
    std::swap(node.shape[dim0], node.shape[dim1]);
    return node;
}

Expression interleave_of(Expression input, std::size_t dim, std::int64_t groups, bool inverse) {
    check_dim(input.shape, dim, "interleave");
    auto const extent = input.shape[dim];
    if (groups < 1 || extent % groups != 0 || extent / groups % 2 != 0) {
        refuse(fmt::format("dimension {} of shape {} does not fall into {} group(s) of an even length", dim,
                           to_string(input.shape), groups));
    }
    auto node = node_over(Expression::Kind::interleave, std::move(input), dim);
    node.groups = groups;
    node.inverse = inverse;
    return node;
}

Expression merged_dims_of(Expression input, std::size_t dim) {
    check_dim(input.shape, dim + 1, "merge");
    auto const extent = input.shape[dim] * input.shape[dim + 1];
    auto node = node_over(Expression::Kind::merge_dims, std::move(input), dim);
    node.shape = node.shape.without(dim + 1);
    node.shape[dim] = extent;
    return node;
}

Expression split_dim_of(Expression input, std::size_t dim, std::int64_t inner) {
    check_dim(input.shape, dim, "split");
    auto const extent = input.shape[dim];
    if (inner < 1 || extent % inner != 0) {
        refuse(fmt::format("dimension {} of shape {} does not fall into rounds of {}", dim, to_string(input.shape),
                           inner));
    }
    auto node = node_over(Expression::Kind::split_dim, std::move(input), dim);
    node.groups = inner;
    node.shape[dim] = extent / inner;
    node.shape = node.shape.with_inserted(dim + 1, inner);
    return node;
}

View evaluate(Expression const& expression) {
    auto const dim = expression.dim;
    switch (expression.kind) {
        case Expression::Kind::source: return evaluate_source(expression);
        case Expression::Kind::cast: return evaluate(expression.inputs.front());
        case Expression::Kind::dequantize: return evaluate_dequantized(expression);
        case Expression::Kind::slice:
            return slice(evaluate(expression.inputs.front()), dim, expression.begin,
                         expression.begin + expression.shape[dim]);
        case Expression::Kind::select:
            return squeeze(slice(evaluate(expression.inputs.front()), dim, expression.begin, expression.begin + 1),
                           dim);
        case Expression::Kind::concatenate:
        case Expression::Kind::stack: return evaluate_joined(expression);
        case Expression::Kind::transpose: return transpose(evaluate(expression.inputs.front()), dim, expression.dim1);
        case Expression::Kind::interleave:
            return interleave(evaluate(expression.inputs.front()), dim, expression.groups, expression.inverse);
        case Expression::Kind::merge_dims: return merge_dims(evaluate(expression.inputs.front()), dim);
        case Expression::Kind::split_dim:
            return split_dim(evaluate(expression.inputs.front()), dim, expression.groups);
    }
    return {};
}

std::string to_string(Expression const& expression, Catalog const& catalog) {
    if (expression.kind == Expression::Kind::source) { return catalog.tensors()[expression.source].name; }
    constexpr std::size_t kMostInputs = 6;  // of many experts the first and the last tell enough
    std::vector<std::string> inputs;
    for (std::size_t i = 0; i < expression.inputs.size(); ++i) {
        bool const is_told = expression.inputs.size() <= kMostInputs || i < 2 || i + 1 == expression.inputs.size();
        if (is_told) { inputs.push_back(to_string(expression.inputs[i], catalog)); }
        if (!is_told && i == 2) { inputs.push_back(fmt::format("... {} more", expression.inputs.size() - 3)); }
    }
    return fmt::format("{} {} ({})", verb(expression), details(expression), fmt::join(inputs, ", "));
}

}  // namespace shardwise
