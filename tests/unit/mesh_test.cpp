// Meshes, and placements composed of several cuts: against cuts of whole tensors done plainly, and against what is
// known of the reference's placements on two-dimensional meshes.
#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <shardwise/mesh.hpp>
#include <shardwise/placement.hpp>

#include "mapping/parallel_plan.hpp"
#include "mapping/tiling.hpp"
#include "support/error_of.hpp"
#include "support/naive_tensor.hpp"
#include "support/random_expression.hpp"
#include "support/read_view.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = Placement::Kind;
using Block = Placement::Block;
using AxisCut = Placement::AxisCut;
using Rows = std::vector<std::int64_t>;

TEST(Mesh, RanksCountThroughTpThenFsdpThenReplicasThenStages) {
    Mesh const mesh = {.pp = 2, .dp = 2, .fsdp = 3, .tp = 2, .ep = 6};
    ASSERT_EQ(mesh.world(), 24);
    std::int64_t rank = 0;
    for (std::int64_t stage = 0; stage < 2; ++stage) {
        for (std::int64_t replica = 0; replica < 2; ++replica) {
            for (std::int64_t fsdp = 0; fsdp < 3; ++fsdp) {
                for (std::int64_t tp = 0; tp < 2; ++tp, ++rank) {
                    EXPECT_EQ(mesh.stage(rank), stage);
                    EXPECT_EQ(mesh.coordinate(MeshAxis::fsdp, rank), fsdp);
                    EXPECT_EQ(mesh.coordinate(MeshAxis::tp, rank), tp);
                    EXPECT_EQ(mesh.coordinate(MeshAxis::ep, rank), fsdp * 2 + tp);
                    EXPECT_EQ(mesh.coordinate(MeshAxis::efsdp, rank), 0);
                    EXPECT_EQ(mesh.leader(rank), rank - replica * 6);
                }
            }
        }
    }
}

TEST(Mesh, ExpertsSeeTheSameRanksAsEfsdpTimesEp) {
    Mesh const mesh = {.fsdp = 4, .tp = 2, .ep = 4};
    Rows ep;
    Rows efsdp;
    for (std::int64_t rank = 0; rank < 8; ++rank) {
        ep.push_back(mesh.coordinate(MeshAxis::ep, rank));
        efsdp.push_back(mesh.coordinate(MeshAxis::efsdp, rank));
    }
    EXPECT_THAT(ep, ElementsAre(0, 1, 2, 3, 0, 1, 2, 3));
    EXPECT_THAT(efsdp, ElementsAre(0, 0, 0, 0, 1, 1, 1, 1));
    EXPECT_EQ(mesh.size(MeshAxis::efsdp), 2);
    EXPECT_EQ((Mesh{.fsdp = 2, .tp = 3}.size(MeshAxis::ep)), 3) << "without a word experts are dealt as tp cuts";
}

TEST(Mesh, WhatDoesNotFitIsRefusedWithOptionsAndNumbers) {
    EXPECT_NO_THROW(check({.fsdp = 2, .tp = 2, .ep = 4}));
    EXPECT_NO_THROW(check({.fsdp = 6, .tp = 2, .ep = 4}));
    EXPECT_THAT(error_of([] { check({.fsdp = 0}); }), IsError(Errc::usage, "--fsdp 0"));
    EXPECT_THAT(error_of([] { check({.tp = 2, .ep = -2}); }), IsError(Errc::usage, "--ep -2"));
    EXPECT_THAT(error_of([] { check({.fsdp = 3, .tp = 2, .ep = 3}); }),
                IsError(Errc::usage, "--ep 3 is no multiple of --tp 2"));
    EXPECT_THAT(error_of([] { check({.fsdp = 3, .tp = 2, .ep = 4}); }),
                IsError(Errc::usage, "--ep 4 does not divide the 6 ranks of --fsdp 3 x --tp 2"));
    EXPECT_THAT(error_of([] { check({.pp = 1 << 20, .dp = 1 << 20}); }), IsError(Errc::usage, "--dp 1048576"));
}

TEST(Mesh, IsToldByWhatIsNotOne) {
    EXPECT_EQ(to_string(Mesh{.dp = 2, .tp = 4}), "tp 4, dp 2");
    EXPECT_EQ(to_string(Mesh{.pp = 2, .fsdp = 2, .tp = 2, .ep = 4}), "tp 2, dp 1, fsdp 2, pp 2, ep 4");
}

AxisCut shard(std::uint32_t dim, MeshAxis axis) {
    return {Kind::shard, dim, {}, axis};
}

/// A cut of equal groups, which the reference calls strided on one axis and a split factor on the other.
AxisCut grouped(std::uint32_t dim, std::int64_t group, int groups, MeshAxis axis, std::int64_t ranks) {
    return {Kind::packed, dim, std::vector<Block>(static_cast<std::size_t>(groups), {group, ranks, 1}), axis};
}

NaiveTensor held(Placement const& placement, Shape const& shape, Mesh const& mesh, std::int64_t rank) {
    View shard{local_shape(placement, shape, mesh, rank), {}};
    for (auto const& box : held_boxes(placement, shape, mesh, rank)) {
        std::ranges::move(part_at(whole(0, shape), box).regions, std::back_inserter(shard.regions));
    }
    return read_view(shard, {counting(shape)});
}

constexpr Mesh kSquare = {.fsdp = 2, .tp = 2};

TEST(ComposedPlacement, RowsThenColumnsAreQuadrants) {
    Placement const placement = {{shard(0, MeshAxis::fsdp), shard(1, MeshAxis::tp)}, {}};
    std::vector<Rows> quadrants;
    for (std::int64_t rank = 0; rank < 4; ++rank) {
        quadrants.push_back(held(placement, {4, 4}, kSquare, rank).values);
    }
    EXPECT_THAT(quadrants, ElementsAre(ElementsAre(0, 1, 4, 5), ElementsAre(2, 3, 6, 7), ElementsAre(8, 9, 12, 13),
                                       ElementsAre(10, 11, 14, 15)));
}

TEST(ComposedPlacement, RowsTwiceOutermostFirstAreQuartersInRankOrder) {
    std::vector<Rows> quarters;
    Placement const placement = {{shard(0, MeshAxis::fsdp), shard(0, MeshAxis::tp)}, {}};
    for (std::int64_t rank = 0; rank < 4; ++rank) { quarters.push_back(held(placement, {8}, kSquare, rank).values); }
    EXPECT_THAT(quarters, ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3), ElementsAre(4, 5), ElementsAre(6, 7)));
}

/// (Strided(0, 2), Shard(0)) of the reference: tp cuts first, fsdp what tp leaves.
Placement fsdp_of_tp() {
    return {{shard(0, MeshAxis::tp), shard(0, MeshAxis::fsdp)}, {}};
}

TEST(ComposedPlacement, FsdpOfTpGivesFourRowsAsTheReferenceDoes) {
    Rows rows;
    for (std::int64_t rank = 0; rank < 4; ++rank) {
        auto const local = held(fsdp_of_tp(), {4}, kSquare, rank);
        ASSERT_EQ(local.values.size(), 1U);
        rows.push_back(local.values.front());
    }
    EXPECT_THAT(rows, ElementsAre(0, 2, 1, 3));
}

TEST(ComposedPlacement, FsdpOfTpOfFiveRowsLeavesTwoOneOneOne) {
    Rows sizes;
    for (std::int64_t rank = 0; rank < 4; ++rank) {
        sizes.push_back(local_shape(fsdp_of_tp(), {5, 3}, kSquare, rank)[0]);
    }
    EXPECT_THAT(sizes, ElementsAre(2, 1, 1, 1));
}

TEST(ComposedPlacement, RowsByFsdpAndPackedColumnsByTp) {
    Placement const placement = {{grouped(1, 4, 2, MeshAxis::tp, 2), shard(0, MeshAxis::fsdp)}, {}};
    EXPECT_THAT(held(placement, {2, 8}, kSquare, 0).values, ElementsAre(0, 1, 4, 5));
    EXPECT_THAT(held(placement, {2, 8}, kSquare, 1).values, ElementsAre(2, 3, 6, 7));
    EXPECT_THAT(held(placement, {2, 8}, kSquare, 2).values, ElementsAre(8, 9, 12, 13));
    EXPECT_THAT(held(placement, {2, 8}, kSquare, 3).values, ElementsAre(10, 11, 14, 15));
}

TEST(ComposedPlacement, FsdpCutsThePackedShardOfTpAndNotItsBlocks) {
    // The reference gets this one wrong: strided of strided. Together tp rank 0 must hold rows 0-3 and 8-11.
    Placement const placement = {{grouped(0, 8, 2, MeshAxis::tp, 2), shard(0, MeshAxis::fsdp)}, {}};
    EXPECT_THAT(held(placement, {16}, kSquare, 0).values, ElementsAre(0, 1, 2, 3));
    EXPECT_THAT(held(placement, {16}, kSquare, 2).values, ElementsAre(8, 9, 10, 11));
    EXPECT_THAT(held(placement, {16}, kSquare, 1).values, ElementsAre(4, 5, 6, 7));
    EXPECT_THAT(held(placement, {16}, kSquare, 3).values, ElementsAre(12, 13, 14, 15));
}

using Ranges = std::vector<Range>;

TEST(ComposedPlacement, IntervalsOfTheReference) {
    auto const by_tp = [](AxisCut const& cut, std::int64_t extent, std::int64_t tp, std::int64_t rank) {
        return held_ranges({{cut}, {}}, {extent}, {.tp = tp}, rank).front();
    };
    auto const even = grouped(0, 4, 2, MeshAxis::tp, 2);
    EXPECT_EQ(by_tp(even, 8, 2, 0), (Ranges{{0, 2}, {4, 6}}));
    EXPECT_EQ(by_tp(even, 8, 2, 1), (Ranges{{2, 4}, {6, 8}}));
    AxisCut const odd = {Kind::packed, 0, {{4, 2, 1}, {3, 2, 1}}, MeshAxis::tp};
    EXPECT_EQ(by_tp(odd, 7, 2, 0), (Ranges{{0, 2}, {4, 6}}));
    EXPECT_EQ(by_tp(odd, 7, 2, 1), (Ranges{{2, 4}, {6, 7}}));
    AxisCut const more_groups_than_rows = {Kind::packed, 0, {{1, 2, 1}, {1, 2, 1}, {1, 2, 1}, {0, 2, 1}}, MeshAxis::tp};
    EXPECT_EQ(by_tp(more_groups_than_rows, 3, 2, 0), (Ranges{{0, 1}, {1, 2}, {2, 3}}));
    EXPECT_THAT(by_tp(more_groups_than_rows, 3, 2, 1), IsEmpty());
    EXPECT_EQ(by_tp(shard(0, MeshAxis::tp), 5, 2, 0), (Ranges{{0, 3}}));
    EXPECT_EQ(by_tp(shard(0, MeshAxis::tp), 5, 2, 1), (Ranges{{3, 5}}));
    EXPECT_THAT(by_tp(shard(0, MeshAxis::tp), 3, 4, 3), IsEmpty());

    // A cut of what lies in two intervals, [0, 4) and [10, 14), among four: the third has [10, 12).
    Placement const two = {{grouped(0, 10, 2, MeshAxis::tp, 3), shard(0, MeshAxis::fsdp)}, {}};
    Mesh const mesh = {.fsdp = 4, .tp = 3};
    EXPECT_EQ(held_ranges(two, {20}, mesh, 2 * 3).front(), (Ranges{{10, 12}}));
    // Among three, pieces of 3: the second goes from one interval into the other.
    EXPECT_EQ(held_ranges(two, {20}, {.fsdp = 3, .tp = 3}, 1 * 3).front(), (Ranges{{3, 4}, {10, 12}}));
}

std::vector<Mesh> small_meshes() {
    return {{},
            {.tp = 3},
            {.fsdp = 3},
            {.fsdp = 2, .tp = 2},
            {.fsdp = 2, .tp = 2, .ep = 4},
            {.fsdp = 4, .ep = 2},
            {.fsdp = 3, .tp = 2, .ep = 6},
            {.pp = 2, .dp = 2, .fsdp = 3, .tp = 2},
            {.pp = 3, .fsdp = 4, .tp = 2, .ep = 4}};
}

std::vector<Shape> shapes() {
    return {{0}, {1}, {5}, {12}, {7, 3}, {3, 7}, {1, 9}, {0, 4}, {8, 8}, {3, 5, 4}, {2, 7, 1}, {9, 2, 6}};
}

TEST(ComposedPlacement, OfAnyKindOnAnyMeshIsTheCutOfTheWholeOneAfterTheOther) {
    std::mt19937 random(12);
    for (auto const& mesh : small_meshes()) {
        for (auto const& shape : shapes()) {
            for (int i = 0; i < 12; ++i) {
                auto const placement = random_placement(random, shape, mesh);
                SCOPED_TRACE(fmt::format("{} of {} on {}", to_string(placement), to_string(shape), to_string(mesh)));
                for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
                    ASSERT_EQ(held(placement, shape, mesh, rank), naive_cut(counting(shape), placement, mesh, rank));
                    ASSERT_EQ(is_held(placement, mesh, rank), naively_holds(placement, mesh, rank));
                }
            }
        }
    }
}

TEST(ComposedPlacement, EveryElementHasAHolderAndRanksAlikeHoldTheSame) {
    std::mt19937 random(5);
    for (auto const& mesh : small_meshes()) {
        for (auto const& shape : {Shape{7, 3}, Shape{3, 5, 4}, Shape{13}}) {
            auto const placement = random_placement(random, shape, mesh);
            SCOPED_TRACE(fmt::format("{} of {} on {}", to_string(placement), to_string(shape), to_string(mesh)));
            for (std::int64_t number = 0; number < shape.num_elements(); ++number) {
                std::vector<std::int64_t> index(shape.rank());
                auto left = number;
                for (auto dim = shape.rank(); dim-- > 0; left /= shape[dim]) { index[dim] = left % shape[dim]; }
                auto const values =
                    naive_cut(counting(shape), placement, mesh, holder_of(placement, shape, mesh, index)).values;
                ASSERT_TRUE(std::ranges::find(values, number) != values.end()) << number;
            }
            for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
                auto const alike = first_alike(placement, mesh, rank);
                ASSERT_LE(alike, rank % (mesh.fsdp * mesh.tp));
                ASSERT_EQ(naive_cut(counting(shape), placement, mesh, alike),
                          naive_cut(counting(shape), placement, mesh, rank));
            }
        }
    }
}

TEST(Tiling, NoRankHoldsAPartOfATileOnly) {
    // Query rows of uneven pieces before key rows that two ranks share: fsdp cuts the key rows at different places.
    Placement const placement = {{{Kind::packed, 0, {{9, 4, 1}, {8, 2, 2}}, MeshAxis::tp}, shard(0, MeshAxis::fsdp)},
                                 {}};
    Mesh const mesh = {.fsdp = 2, .tp = 4};
    Tiling const tiling(placement, {17}, mesh);
    std::map<std::int64_t, Rows> tiles;  // by corner
    std::multiset<std::int64_t> held_rows;
    for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
        Rows rows;
        for (auto const& box : held_boxes(placement, {17}, mesh, rank)) {
            for (auto const& tile : tiling.tiles_of(box)) {
                Rows in_tile;
                for (auto i = tile.indices[0].begin; i < tile.indices[0].end; ++i) { in_tile.push_back(i); }
                EXPECT_EQ(tiles.emplace(corner_of(tile).front(), in_tile).first->second, in_tile);
                EXPECT_EQ(tile.local_begin[0], static_cast<std::int64_t>(rows.size()));
                rows.insert(rows.end(), in_tile.begin(), in_tile.end());
            }
        }
        EXPECT_EQ(rows, naive_cut(counting({17}), placement, mesh, rank).values);
        held_rows.insert(rows.begin(), rows.end());
    }
    std::size_t rows_in_tiles = 0;
    for (auto const& [corner, rows] : tiles) { rows_in_tiles += rows.size(); }
    EXPECT_EQ(rows_in_tiles, 17U) << "tiles overlap or leave something out";
    EXPECT_EQ(held_rows.count(3), 1U);
    EXPECT_EQ(held_rows.count(12), 2U);
}

SizeLookup const kNoSizes = [](std::string const& name) -> std::int64_t {
    throw Error(Errc::input, "asked for " + name);
};

std::string placed(char const* style, Shape const& shape, Mesh const& mesh, MeshAxis axis = MeshAxis::tp) {
    PlacementRule const rule = {cut_of_style(style), 0, {}, axis};
    return to_string(place(rule, "w", shape, {mesh, KvHeads::cut, Heads::none, kNoSizes}));
}

TEST(PlaceOnMesh, FsdpCutsDimensionZeroOfWhateverTpLeaves) {
    EXPECT_EQ(placed("colwise", {8, 4}, kSquare), "shard 0, then shard 0 over fsdp");
    EXPECT_EQ(placed("rowwise", {8, 4}, kSquare), "shard 1, then shard 0 over fsdp");
    EXPECT_EQ(placed("replicate", {8}, kSquare), "shard 0 over fsdp");
    EXPECT_EQ(placed("packed_colwise", {3, 8, 4}, kSquare), "packed 1 [4, 4], then shard 0 over fsdp");
    EXPECT_EQ(placed("replicate", {}, kSquare), "replicate") << "scalars are never cut";
    EXPECT_EQ(placed("colwise", {8, 4}, {.tp = 4}), "shard 0");
}

TEST(PlaceOnMesh, RulesOfAnExpertPlanCutAmongTheExpertRanks) {
    Mesh const mesh = {.fsdp = 4, .tp = 2, .ep = 4};
    EXPECT_EQ(placed("grouped_gemm", {8, 2, 2}, mesh, MeshAxis::ep), "expert 0 over ep, then shard 0 over efsdp");
    EXPECT_EQ(placed("colwise", {8, 2}, mesh, MeshAxis::ep), "shard 0 over ep, then shard 0 over efsdp");
    EXPECT_EQ(placed("ep_dispatch_experts", {8, 2}, mesh, MeshAxis::ep), "shard 0 over efsdp");
    EXPECT_EQ(placed("grouped_gemm", {8, 2, 2}, {.fsdp = 2, .tp = 2, .ep = 4}, MeshAxis::ep), "expert 0 over ep");
    EXPECT_EQ(placed("grouped_gemm", {8, 2, 2}, {.fsdp = 4, .tp = 2}, MeshAxis::ep), "expert 0, then shard 0 over fsdp")
        << "as many as tp ranks: one view of the mesh";
}

TEST(PlaceOnMesh, TwoExpertsOnFourRanksLeaveTwoWithoutAny) {
    PlacementRule const rule = {Cut::experts, 0, {}, MeshAxis::ep};
    Mesh const mesh = {.fsdp = 4, .ep = 2};
    auto const placement = place(rule, "experts.w", {2, 3}, {mesh, KvHeads::cut, Heads::none, kNoSizes});
    EXPECT_THAT(held(placement, {2, 3}, mesh, 0).values, ElementsAre(0, 1, 2));
    EXPECT_THAT(held(placement, {2, 3}, mesh, 1).values, ElementsAre(3, 4, 5));
    EXPECT_EQ(local_shape(placement, {2, 3}, mesh, 2), (Shape{0, 3}));
    EXPECT_EQ(local_shape(placement, {2, 3}, mesh, 3), (Shape{0, 3}));
}

}  // namespace
}  // namespace shardwise::test
