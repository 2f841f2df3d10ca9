// Placements: the ceil rule, what each style makes of each shape, and heads that do not divide.
#include <random>

#include <gmock/gmock.h>

#include <shardwise/error.hpp>
#include <shardwise/placement.hpp>

#include "mapping/parallel_plan.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = Placement::Kind;
using Block = Placement::Block;
using Ranges = std::vector<Range>;

Placement cut_by_tp(Kind kind, std::uint32_t dim, std::vector<Block> blocks) {
    return {{{kind, dim, std::move(blocks), MeshAxis::tp}}, {}};
}

/// What a tensor-parallel rank holds of a 1-d parameter.
Ranges held_rows(Placement const& placement, std::int64_t extent, std::int64_t tp, std::int64_t rank) {
    return held_ranges(placement, {extent}, {.tp = tp}, rank).front();
}

struct RangeCase {
    std::vector<std::int64_t> blocks;
    std::int64_t tp;
    std::int64_t rank;
    Ranges expected;
};

class HeldRanges : public ::testing::TestWithParam<RangeCase> {};

TEST_P(HeldRanges, FollowTheCeilRuleInEachBlock) {
    auto const& [sizes, tp, rank, expected] = GetParam();
    std::vector<Block> blocks;
    std::int64_t extent = 0;
    for (auto const size : sizes) {
        blocks.push_back({size, tp, 1});
        extent += size;
    }
    EXPECT_EQ(held_rows(cut_by_tp(Kind::packed, 0, blocks), extent, tp, rank), expected);
}

INSTANTIATE_TEST_SUITE_P(Plain, HeldRanges,
                         ::testing::Values(RangeCase{{5}, 2, 0, {{0, 3}}}, RangeCase{{5}, 2, 1, {{3, 5}}},
                                           RangeCase{{16}, 3, 2, {{12, 16}}},                         // 6, 6, 4
                                           RangeCase{{5}, 4, 2, {{4, 5}}}, RangeCase{{5}, 4, 3, {}},  // 2, 2, 1, 0
                                           RangeCase{{3}, 4, 3, {}}, RangeCase{{0}, 4, 0, {}},
                                           RangeCase{{9}, 1, 0, {{0, 9}}}));

INSTANTIATE_TEST_SUITE_P(
    Packed, HeldRanges,
    ::testing::Values(RangeCase{{4, 4}, 2, 0, {{0, 2}, {4, 6}}}, RangeCase{{4, 4}, 2, 1, {{2, 4}, {6, 8}}},
                      RangeCase{{4, 3}, 2, 0, {{0, 2}, {4, 6}}}, RangeCase{{4, 3}, 2, 1, {{2, 4}, {6, 7}}},
                      RangeCase{{5, 5}, 4, 2, {{4, 5}, {9, 10}}}, RangeCase{{5, 5}, 4, 3, {}},  // 4, 4, 2, 0
                      RangeCase{{8, 2, 2}, 2, 1, {{4, 8}, {9, 10}, {11, 12}}},                  // q | k | v
                      RangeCase{{4, 1, 1}, 2, 1, {{2, 4}}}, RangeCase{{4, 0, 2}, 2, 0, {{0, 2}, {4, 5}}}));

TEST(HeldRanges, OfRepeatedHeadsAreTheSameForRanksInARow) {
    auto const placement = cut_by_tp(Kind::shard, 0, {{8, 2, 2}});  // two heads of four rows on four ranks
    EXPECT_EQ(held_rows(placement, 8, 4, 0), (Ranges{{0, 4}}));
    EXPECT_EQ(held_rows(placement, 8, 4, 1), (Ranges{{0, 4}}));
    EXPECT_EQ(held_rows(placement, 8, 4, 2), (Ranges{{4, 8}}));
    EXPECT_EQ(held_rows(placement, 8, 4, 3), (Ranges{{4, 8}}));
}

/// How often each index of the cut dimension is held, over all ranks.
std::vector<int> times_held(Placement const& placement, std::int64_t extent, std::int64_t tp) {
    std::vector<int> times(static_cast<std::size_t>(extent), 0);
    for (std::int64_t rank = 0; rank < tp; ++rank) {
        std::int64_t previous_end = 0;
        std::int64_t held = 0;
        for (auto const& range : held_rows(placement, extent, tp, rank)) {
            EXPECT_LE(previous_end, range.begin) << "not in local order";
            EXPECT_GT(range.size(), 0);
            for (auto i = range.begin; i < range.end; ++i) { ++times.at(static_cast<std::size_t>(i)); }
            previous_end = range.end;
            held += range.size();
        }
        EXPECT_EQ(local_shape(placement, {extent}, {.tp = tp}, rank)[0], held);
    }
    return times;
}

TEST(HeldRanges, TileEverySizeForEveryNumberOfRanks) {
    for (std::int64_t tp = 1; tp <= 9; ++tp) {
        for (std::int64_t n = 0; n <= 70; ++n) {
            EXPECT_THAT(times_held(cut_along({n}, 0, tp), n, tp), ::testing::Each(1)) << n << " on " << tp;
        }
    }
}

TEST(HeldRanges, TileBlocksOfAnySizesForEveryNumberOfRanks) {
    std::mt19937 random(7);
    std::uniform_int_distribution<std::int64_t> size(0, 20);
    for (int i = 0; i < 2000; ++i) {
        std::int64_t const tp = 1 + i % 9;
        std::vector<Block> blocks;
        std::int64_t extent = 0;
        for (int block = 0; block <= i % 4; ++block) {
            blocks.push_back({size(random), tp, 1});
            extent += blocks.back().size;
        }
        auto const placement = cut_by_tp(Kind::packed, 0, blocks);
        ASSERT_THAT(times_held(placement, extent, tp), ::testing::Each(1)) << to_string(placement) << " on " << tp;
    }
}

TEST(LocalShape, KeepsTheOtherDimensions) {
    EXPECT_EQ(local_shape(Placement{}, {4, 6}, {.tp = 4}, 1), (Shape{4, 6}));
    EXPECT_EQ(local_shape(cut_along({4, 6}, 1, 4), {4, 6}, {.tp = 4}, 2), (Shape{4, 2}));
    EXPECT_EQ(local_shape(cut_along({4, 6}, 1, 4), {4, 6}, {.tp = 4}, 3), (Shape{4, 0}));  // pieces of 2: nothing left
}

constexpr std::int64_t kTp = 2;

Placement shard(std::uint32_t dim, std::int64_t size) {
    return cut_by_tp(Kind::shard, dim, {{size, kTp, 1}});
}
Placement halves(std::uint32_t dim, std::int64_t first, std::int64_t second) {
    return cut_by_tp(Kind::packed, dim, {{first, kTp, 1}, {second, kTp, 1}});
}
Placement whole_experts(std::int64_t count) {
    return cut_by_tp(Kind::expert, 0, {{count, kTp, 1}});
}

struct StyleCase {
    char const* style;
    char const* name;
    Shape shape;
    Placement expected;
};

std::ostream& operator<<(std::ostream& out, StyleCase const& style) {
    return out << style.style << " of " << style.name << " " << to_string(style.shape);
}

class Style : public ::testing::TestWithParam<StyleCase> {};

SizeLookup const kNoSizes = [](std::string const& name) -> std::int64_t {
    throw Error(Errc::input, "asked for " + name);
};

TEST_P(Style, GivesThePlacementOfTheReference) {
    auto const& [style, name, shape, expected] = GetParam();
    auto const placement =
        place({cut_of_style(style), 0, {}}, name, shape, {{.tp = kTp}, KvHeads::cut, Heads::none, kNoSizes});
    EXPECT_EQ(placement, expected) << to_string(placement);
}

INSTANTIATE_TEST_SUITE_P(Colwise, Style,
                         ::testing::Values(StyleCase{"colwise", "q_proj.weight", {8, 4}, shard(0, 8)},
                                           StyleCase{"colwise", "q_proj.bias", {8}, shard(0, 8)},
                                           StyleCase{"colwise", "self_attn.sinks", {8}, shard(0, 8)},
                                           StyleCase{"colwise", "experts.up_proj", {2, 6, 4}, shard(1, 6)},
                                           StyleCase{"colwise",
                                                     "experts.up_proj_bias",
                                                     {2, 6},
                                                     shard(0, 2)},  // a bias of every expert is cut by experts
                                           StyleCase{"colwise_gather_output", "lm_head.weight", {9, 4}, shard(0, 9)},
                                           StyleCase{"colwise_rep", "lm_head.weight", {9, 4}, shard(0, 9)}));

INSTANTIATE_TEST_SUITE_P(Rowwise, Style,
                         ::testing::Values(StyleCase{"rowwise", "o_proj.weight", {8, 4}, shard(1, 4)},
                                           StyleCase{"rowwise", "o_proj.bias", {8}, {}},
                                           StyleCase{"rowwise", "experts.down_proj", {2, 6, 4}, shard(2, 4)},
                                           StyleCase{"rowwise", "o_proj.scale", {8}, shard(0, 8)},
                                           StyleCase{"rowwise",
                                                     "experts.down_proj_bias",
                                                     {2, 6},
                                                     shard(1, 6)},  // only a name that is exactly "bias" is held whole
                                           StyleCase{"rowwise_split_input", "o_proj.weight", {8, 4}, shard(1, 4)},
                                           StyleCase{"rowwise_rep", "o_proj.weight", {8, 4}, shard(1, 4)}));

INSTANTIATE_TEST_SUITE_P(Embedding, Style,
                         ::testing::Values(StyleCase{"embedding_rowwise", "embed_tokens.weight", {9, 4}, shard(0, 9)},
                                           StyleCase{"embedding_colwise", "embed_tokens.weight", {9, 4}, shard(1, 4)}));

INSTANTIATE_TEST_SUITE_P(
    Packed, Style,
    ::testing::Values(StyleCase{"packed_colwise", "experts.gate_up_proj", {2, 8, 4}, halves(1, 4, 4)},
                      StyleCase{"packed_colwise", "gate_up.weight", {10, 4}, halves(0, 5, 5)},
                      StyleCase{"packed_colwise", "gate_up.weight", {7, 4}, halves(0, 4, 3)},
                      StyleCase{"packed_colwise", "gate_up.bias", {8}, shard(0, 8)},
                      StyleCase{"packed_rowwise", "experts.gate_up_proj", {2, 4, 8}, halves(2, 4, 4)},
                      StyleCase{"packed_rowwise", "gate_up.bias", {8}, {}}));

INSTANTIATE_TEST_SUITE_P(
    Experts, Style,
    ::testing::Values(StyleCase{"grouped_gemm", "experts.gate_up_proj", {4, 8, 4}, whole_experts(4)},
                      StyleCase{"grouped_gemm", "experts.gate_up_proj_bias", {4, 8}, whole_experts(4)}));

INSTANTIATE_TEST_SUITE_P(Uncut, Style,
                         ::testing::Values(StyleCase{"replicate", "w", {8, 4}, {}},
                                           StyleCase{"sequence_parallel", "norm.weight", {8}, {}},
                                           StyleCase{"replicated_with_grad_allreduce", "q_norm.weight", {8}, {}},
                                           StyleCase{"mla_kv_a_proj", "kv_a.weight", {8, 4}, {}},
                                           StyleCase{"all_reduce", "w", {8, 4}, {}},
                                           StyleCase{"moe_tp_experts", "experts.w", {8, 4}, {}},
                                           StyleCase{"moe_identity_expert", "experts.w", {8, 4}, {}},
                                           StyleCase{"local_params", "self_attn.w", {8}, {}},
                                           StyleCase{"ep_dispatch_experts", "experts.w", {8, 4}, {}}));

struct PlaceRefused {
    char const* what;
    PlacementRule rule;
    Shape shape;
    std::int64_t tp;
    std::vector<char const*> named;
};

std::ostream& operator<<(std::ostream& out, PlaceRefused const& refused) {
    return out << refused.what;
}

class PlaceRefuses : public ::testing::TestWithParam<PlaceRefused> {};

TEST_P(PlaceRefuses, WithTheNumbers) {
    auto const& [what, rule, shape, tp, named] = GetParam();
    SizeLookup const size_of = [](std::string const& size) {
        return std::int64_t{size == "q" ? 8 : size == "minus" ? -2 : 2};
    };
    try {
        place(rule, "w", shape, {{.tp = tp}, KvHeads::cut, Heads::none, size_of});
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::input);
        for (auto const* text : named) { EXPECT_THAT(error.what(), HasSubstr(text)); }
    }
}

INSTANTIATE_TEST_SUITE_P(
    Place, PlaceRefuses,
    ::testing::Values(
        PlaceRefused{"blocks that do not add up",
                     {Cut::packed, 0, {{"q"}, {"k"}}},
                     {12, 2},
                     2,
                     {"[8, 2]", "dimension 0", "[12, 2]"}},
        PlaceRefused{"a negative block", {Cut::packed, 0, {{"q"}, {"minus"}}}, {6}, 2, {"[8, -2]"}},
        PlaceRefused{"a stated dimension that is not there", {Cut::shard, 2, {}}, {4, 4}, 2, {"dimension 2", "[4, 4]"}},
        PlaceRefused{"a packed dimension that is not there", {Cut::packed, 1, {{"q"}}}, {8}, 2, {"dimension 1", "[8]"}},
        PlaceRefused{
            "an embedding cut along columns that it lacks", {Cut::second, 0, {}}, {8}, 2, {"dimension 1", "[8]"}}));

TEST(Style, AnUnknownNameIsRefusedWithTheNearestOne) {
    for (auto const* removed : {"local_colwise", "ep_router", "gather", ""}) {
        EXPECT_THROW(cut_of_style(removed), Error) << removed;
    }
    try {
        cut_of_style("colwize");
        FAIL() << "accepted";
    } catch (Error const& error) { EXPECT_THAT(error.what(), AllOf(HasSubstr("'colwize'"), HasSubstr("'colwise'"))); }
}

struct KvCase {
    std::int64_t heads;
    std::int64_t tp;
    Placement::Block expected;  ///< of 16 rows
};

class ReplicatedKvHeads : public ::testing::TestWithParam<KvCase> {};

TEST_P(ReplicatedKvHeads, StayWhole) {
    auto const& [heads, tp, expected] = GetParam();
    SizeLookup const size_of = [heads = heads](std::string const&) { return heads; };
    auto const placement = place({Cut::columns, 0, {}}, "k_proj.weight", {16, 4},
                                 {{.tp = tp}, KvHeads::replicate, Heads::key_value, size_of});
    EXPECT_THAT(placement.cuts.front().blocks, ElementsAre(expected));
}

INSTANTIATE_TEST_SUITE_P(Place, ReplicatedKvHeads,
                         ::testing::Values(KvCase{8, 2, Block{16, 2, 1}}, KvCase{2, 2, Block{16, 2, 1}},
                                           KvCase{2, 4, Block{16, 2, 2}}, KvCase{1, 8, Block{16, 1, 8}},
                                           KvCase{4, 8, Block{16, 4, 2}}));

TEST(ReplicatedKvHeads, AreRefusedWithBothNumbersWhenNeitherDivides) {
    SizeLookup const size_of = [](std::string const&) { return std::int64_t{4}; };
    for (std::int64_t const tp : {3, 6, 10}) {
        try {
            place({Cut::columns, 0, {}}, "k_proj.weight", {16, 4},
                  {{.tp = tp}, KvHeads::replicate, Heads::key_value, size_of});
            ADD_FAILURE() << "accepted " << tp;
        } catch (Error const& error) {
            EXPECT_THAT(error.what(), AllOf(HasSubstr("4 key/value heads"), HasSubstr("--tp " + std::to_string(tp))));
        }
    }
}

TEST(ReplicatedKvHeads, DoNotTouchQueryHeads) {
    SizeLookup const size_of = [](std::string const&) { return std::int64_t{2}; };
    auto const placement =
        place({Cut::columns, 0, {}}, "q_proj.weight", {16, 4}, {{.tp = 4}, KvHeads::replicate, Heads::query, size_of});
    EXPECT_THAT(placement.cuts.front().blocks, ElementsAre(Block{16, 4, 1}));
}

TEST(ReplicatedKvHeads, InsideFusedQkvGoGroupByGroup) {
    SizeLookup const size_of = [](std::string const& name) {
        return std::int64_t{name == "q" ? 16 : name == "num_key_value_heads" ? 2 : 4};
    };
    PlacementRule const rule{Cut::packed, 0, {{"q", Heads::query}, {"kv", Heads::key_value}, {"kv", Heads::key_value}}};
    auto const placement = place(rule, "qkv.weight", {24, 4}, {{.tp = 4}, KvHeads::replicate, Heads::none, size_of});
    EXPECT_THAT(placement.cuts.front().blocks, ElementsAre(Block{16, 4, 1}, Block{4, 2, 2}, Block{4, 2, 2}));
    EXPECT_EQ(held_rows(placement, 24, 4, 1), (Ranges{{4, 8}, {16, 18}, {20, 22}}));
    EXPECT_EQ(held_rows(placement, 24, 4, 2), (Ranges{{8, 12}, {18, 20}, {22, 24}}));
}

}  // namespace
}  // namespace shardwise::test
