/// @file
/// Index maps without data: where each element of a converted tensor lies in the stored ones.
///
/// Every conversion that moves values without changing them (cut, join, stack, transpose, interleave, permute) is an
/// operation on views here, exact for any shape. Nothing is approximated and no data is touched; a plan reads byte
/// ranges off the view of what a rank owns.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <boost/container/small_vector.hpp>

#include <shardwise/dtype.hpp>
#include <shardwise/shape.hpp>

namespace shardwise {

/// A loop over source elements: `extent` steps of `stride` elements.
struct Factor {
    std::int64_t extent = 1;
    std::int64_t stride = 0;
    bool operator==(Factor const&) const = default;
};

/// The range [begin, begin + extent) of one dimension of a view, walked by nested loops, outermost first, whose extents
/// multiply to `extent`. Example: rows 0..5 taken as 0,2,4,1,3,5 of a matrix with 8 columns: loops (2, 8)(3, 16).
struct Axis {
    std::int64_t begin = 0;
    std::int64_t extent = 0;
    boost::container::small_vector<Factor, 2> factors;
};

/// A box of a view whose elements come from one source tensor: element (i, j, ...) of the box is source element
/// `offset` plus what the loops of each axis give for i, j, ...
struct Region {
    std::uint32_t source = 0;
    std::optional<DType> dtype = {};  ///< of the source's elements where it is known; else that of the view's
    std::optional<std::uint32_t> scales = {};  ///< tensor of scales that the elements are codes for
    std::int64_t offset = 0;
    boost::container::small_vector<Axis, 3> axes;
};

/// A tensor made of source elements: disjoint regions that cover its index space.
struct View {
    Shape shape;
    std::vector<Region> regions;
};

/// All of source tensor @p source, as it is stored.
View whole(std::uint32_t source, Shape const& shape);

/// Indices [begin, end) of @p dim.
View slice(View const& view, std::size_t dim, std::int64_t begin, std::int64_t end);

/// Puts @p part behind what @p joined has along @p dim; the other extents must agree (checked where expressions are
/// made).
void append(View& joined, View const& part, std::size_t dim);

/// With a dimension of extent 1 put in before @p dim, respectively taken away.
View unsqueeze(View view, std::size_t dim);
View squeeze(View view, std::size_t dim);

/// With two dimensions swapped.
View transpose(View view, std::size_t dim0, std::size_t dim1);

/// Dimension @p dim of extent n seen as two, (n / inner, inner); @p inner divides n.
View split_dim(View const& view, std::size_t dim, std::int64_t inner);

/// Dimensions @p dim and dim + 1 seen as one.
View merge_dims(View const& view, std::size_t dim);

}  // namespace shardwise
