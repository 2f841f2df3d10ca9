/// @file
/// Whole tensors as plain lists of numbers, converted element by element: the slow, obviously right way that plans are
/// compared with. Shares no code with the index maps under test.
#pragma once

#include <cstdint>
#include <vector>

#include <shardwise/placement.hpp>
#include <shardwise/shape.hpp>

#include "mapping/expression.hpp"

namespace shardwise::test {

/// Row-major values.
struct NaiveTensor {
    Shape shape;
    std::vector<std::int64_t> values;
    bool operator==(NaiveTensor const&) const = default;
};

/// first, first + 1, ...
NaiveTensor counting(Shape const& shape, std::int64_t first = 0);

/// The operations, one by one: for chains that a test spells out itself instead of taking the rules' word for them.
NaiveTensor sliced(NaiveTensor const& input, std::size_t dim, std::int64_t begin, std::int64_t end);
NaiveTensor joined(std::vector<NaiveTensor> const& parts, std::size_t dim);
NaiveTensor stacked(std::vector<NaiveTensor> const& parts, std::size_t dim);
NaiveTensor swapped(NaiveTensor const& input, std::size_t dim0, std::size_t dim1);

/// In each of `groups` parts of length d: out[j*(d/2) + i] = in[2*i + j], or the other way round.
NaiveTensor interleaved(NaiveTensor const& input, std::size_t dim, std::int64_t groups, bool inverse);

/// Runs the operations of an expression on whole tensors; leaves come from @p sources by index.
NaiveTensor naive(Expression const& expression, std::vector<NaiveTensor> const& sources);

/// What @p rank holds of @p whole: cut after cut, by the ceil rule spelt out.
NaiveTensor naive_cut(NaiveTensor const& whole, Placement const& placement, Mesh const& mesh, std::int64_t rank);

/// Whether the stage of @p rank is one of those that hold the parameter.
bool naively_holds(Placement const& placement, Mesh const& mesh, std::int64_t rank);

}  // namespace shardwise::test
