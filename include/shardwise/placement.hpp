/// @file
/// How a parameter lies across the ranks of a mesh.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <boost/container/small_vector.hpp>

#include <shardwise/mesh.hpp>
#include <shardwise/shape.hpp>

namespace shardwise {

/// A half-open range of indices.
struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t size() const noexcept { return end - begin; }
    bool operator==(Range const&) const = default;
};

/// Cuts, each of what the ones before it leave a rank, each along another axis of the mesh. Without any, every rank
/// holds all of the parameter.
///
/// Example: tp cuts the blocks gate and up along dimension 0, then fsdp cuts dimension 0 of what that leaves,
/// [gate_r; up_r], whatever the blocks.
struct Placement {
    enum class Kind : std::uint8_t { replicate, shard, packed, expert };

    /// The ceil rule: a block of n indices falls into `parts` pieces of c = ceil(n / parts), piece i being
    /// [min(i c, n), min((i + 1) c, n)): the last ones may be short or empty.
    struct Block {
        std::int64_t size = 0;
        std::int64_t parts = 1;
        std::int64_t repeat = 1;  ///< ranks in a row that hold the same piece (replicated kv heads)
        bool operator==(Block const&) const = default;
    };

    /// A cut among the ranks of one axis: rank r of it holds piece r / repeat of every block of the dimension, joined
    /// in the order of the blocks.
    struct AxisCut {
        Kind kind = Kind::shard;  ///< not replicate
        std::uint32_t dim = 0;
        std::vector<Block> blocks;  ///< they make up the dimension; none: all that is left is one, in as many parts as
                                    ///< the axis has ranks. To be stated only by the first cut along a dimension.
        MeshAxis axis = MeshAxis::tp;
        bool operator==(AxisCut const&) const = default;
    };

    std::vector<AxisCut> cuts;
    std::vector<std::int64_t> stages;  ///< pipeline stages that hold it, ascending; none: all of them

    bool operator==(Placement const&) const = default;
};

/// A plain cut of @p shape along @p dim into @p parts, among the tp ranks; kind shard or expert.
Placement cut_along(Shape const& shape, std::size_t dim, std::int64_t parts,
                    Placement::Kind kind = Placement::Kind::shard);

/// Whether @p rank belongs to a stage that holds the parameter, if only an empty part of it.
bool is_held(Placement const& placement, Mesh const& mesh, std::int64_t rank) noexcept;

/// Whether every rank of those stages holds all of it.
bool is_whole(Placement const& placement, Mesh const& mesh) noexcept;

/// Indices of each dimension of the parameter that @p rank holds, as ranges in local order; empty ones are left out. A
/// shard is what these make crosswise. The stage does not count.
///
/// Example: blocks of 5 and 5 rows in 4 parts -> rank 2 holds [4, 5) and [9, 10).
std::vector<std::vector<Range>> held_ranges(Placement const& placement, Shape const& shape, Mesh const& mesh,
                                            std::int64_t rank);

/// A box of a parameter that a rank holds, with its place in what the rank holds.
struct HeldBox {
    boost::container::small_vector<Range, 4> indices;             ///< by dimension
    boost::container::small_vector<std::int64_t, 4> local_begin;  ///< by dimension
};

/// What @p rank holds, box by box in row-major order of the places; nothing for an empty shard. The stage does not
/// count.
std::vector<HeldBox> held_boxes(Placement const& placement, Shape const& shape, Mesh const& mesh, std::int64_t rank);

/// Shape of what @p rank holds.
Shape local_shape(Placement const& placement, Shape const& shape, Mesh const& mesh, std::int64_t rank);

/// The first rank of the first copy that holds the same as @p rank. The stage does not count.
std::int64_t first_alike(Placement const& placement, Mesh const& mesh, std::int64_t rank) noexcept;

/// A rank of the first copy that holds the element at @p index, which has one entry a dimension.
std::int64_t holder_of(Placement const& placement, Shape const& shape, Mesh const& mesh,
                       std::span<std::int64_t const> index);

/// Example: "replicate", "shard 0", "packed 1 [40, 40]", "expert 0 over ep, then shard 0 over efsdp", "shard 0; stage
/// 0, 3".
std::string to_string(Placement const& placement);
char const* to_string(Placement::Kind kind) noexcept;

}  // namespace shardwise
