/// @file
/// Kernels that put the elements of copy blocks in place, as they are or cast. One contract, two host versions: the
/// reference is tested against values made by hand, the fast one against the reference.
#pragma once

#include <cstddef>
#include <span>

#include <shardwise/plan.hpp>

#include "convert/block_scale.hpp"

namespace shardwise {

/// Where the tensors of a plan are: block targets count from `tensors[block.tensor].data()`.
using TensorSpans = std::span<std::span<std::byte> const>;

/// By index into Plan::scalings.
using Scalings = std::span<BlockScaling const>;

/// Puts every run of @p blocks from @p source (block sources count from its first byte) in its place.
void place(std::span<CopyBlock const> blocks, std::span<std::byte const> source, TensorSpans tensors,
           Scalings scalings = {});
void place_reference(std::span<CopyBlock const> blocks, std::span<std::byte const> source, TensorSpans tensors,
                     Scalings scalings = {});

/// Copies the runs one after the other into @p packed, which has room for all of them.
void pack(std::span<CopyBlock const> blocks, std::span<std::byte const> source, std::span<std::byte> packed);

/// Takes the runs out of @p packed in the same order and puts each in its place.
void unpack(std::span<CopyBlock const> blocks, std::span<std::byte const> packed, TensorSpans tensors,
            Scalings scalings = {});

}  // namespace shardwise
