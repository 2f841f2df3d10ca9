/// @file
/// How a parameter is made of stored tensors: a tree of shape-only operations whose leaves are stored tensors, as they
/// are, cast to another type or dequantized.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <shardwise/block_grid.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/dtype.hpp>
#include <shardwise/shape.hpp>

#include "mapping/view.hpp"

namespace shardwise {

/// One node. Made only by the functions below, which check their input; `shape` and `dtype` are those of the result.
struct Expression {
    enum class Kind : std::uint8_t {
        source,
        cast,
        dequantize,
        slice,
        select,
        concatenate,
        stack,
        transpose,
        interleave,
        merge_dims,
        split_dim
    };

    Kind kind = Kind::source;
    DType dtype = DType::u8;
    bool inverse = false;      ///< interleave
    std::uint32_t source = 0;  ///< source: index into Catalog::tensors()
    std::uint32_t dim = 0;     ///< every kind but source, cast and dequantize
    std::uint32_t dim1 = 0;    ///< transpose: the other dimension
    /// slice: first index; select: the index; dequantize: rows of a block, if they are stated, else 0
    std::int64_t begin = 0;
    /// interleave; split_dim: extent of the inner dimension; dequantize: columns of a block, if they are stated
    std::int64_t groups = 1;
    Shape shape;
    std::vector<Expression> inputs;
};

/// All functions throw Error input with the shapes when a dimension is out of range or shapes do not fit.

/// Stored tensor @p source.
Expression stored(std::uint32_t source, TensorRecord const& tensor);

/// With the values of a stored tensor in another type; the tensor itself if it has that type. A cast stands next to its
/// leaf, before any other operation, as the reference casts.
Expression cast_of(Expression leaf, DType dtype);

/// The bytes of a stored tensor as elements of another type: packed codes that are stored as whole bytes.
Expression viewed_as(Expression leaf, DType dtype, Shape const& shape);

/// The numbers of type @p dtype that stored codes stand for, each times the scale of its block (see block_grid).
/// @param stated size of the blocks; where it does not fit they follow from the shapes.
Expression dequantization_of(Expression codes, Expression scales, DType dtype,
                             std::optional<BlockSize> const& stated = {});

/// The grid of a dequantization.
BlockGrid grid_of(Expression const& dequantization);

/// Indices [begin, end) of @p dim.
Expression slice_of(Expression input, std::size_t dim, std::int64_t begin, std::int64_t end);

/// Index @p index of @p dim, that dimension gone.
Expression select_of(Expression input, std::size_t dim, std::int64_t index);

/// Joined along an existing dimension, respectively along a new one in front of @p dim. Types must agree.
Expression concatenation_of(std::vector<Expression> inputs, std::size_t dim);
Expression stack_of(std::vector<Expression> inputs, std::size_t dim);

/// Two dimensions swapped.
Expression transpose_of(Expression input, std::size_t dim0, std::size_t dim1);

/// Within each of @p groups equal parts of @p dim, pairs of neighbours become two halves: element 2i+j of a part moves
/// to j*(n/2)+i, n being the part's length. With @p inverse the other way round. One group is the op Interleave; one
/// group per attention head is PermuteForRope.
///
/// Example: 0..5, one group -> 0,2,4,1,3,5; inverse -> 0,3,1,4,2,5.
Expression interleave_of(Expression input, std::size_t dim, std::int64_t groups, bool inverse);

/// Dimensions @p dim and dim + 1 seen as one, row-major; respectively @p dim seen as two, of which the inner one has
/// @p inner indices.
Expression merged_dims_of(Expression input, std::size_t dim);
Expression split_dim_of(Expression input, std::size_t dim, std::int64_t inner);

/// The index map of the whole expression.
View evaluate(Expression const& expression);

/// The tree in one line, for people; of many inputs only the first and the last.
/// Example: "concatenate 1 (stack 0 (a.0.w, a.1.w), stack 0 (b.0.w, b.1.w))".
std::string to_string(Expression const& expression, Catalog const& catalog);

}  // namespace shardwise
