/// @file
/// Random chains of operations over random shapes, for laws that must hold for any of them.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "mapping/expression.hpp"
#include "support/naive_tensor.hpp"

namespace shardwise::test {

/// An expression with the tensors at its leaves. Leaf values count on from one tensor to the next, so every element of
/// every source is told apart.
struct RandomCase {
    Expression expression;
    std::vector<Shape> sources;
    std::vector<NaiveTensor> contents() const;
};

RandomCase random_case(std::mt19937& random);

/// A random placement on a mesh for a shape with at least one dimension.
Placement random_placement(std::mt19937& random, Shape const& shape, Mesh const& mesh);

}  // namespace shardwise::test
