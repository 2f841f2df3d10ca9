// Conversions that a loader gets wrong if it cuts the stored tensors first and converts the pieces afterwards: the rows
// of the reference's behaviour that were found wrong or failing, each with the right result. The right result is the
// shard, by the plan, of the tensor converted as a whole; tensors are converted here by hand, not by the rules.
// Rows about value changes (FP8) and fsdp meshes are not among them: those have tests of their own.
#include <algorithm>

#include <gmock/gmock.h>

#include "support/model.hpp"

namespace shardwise::test {
namespace {

struct Row {
    char const* what;
    char const* transform;
    char const* plan;
    std::vector<std::pair<std::string, Shape>> stored;
    std::map<std::string, NaiveTensor> (*convert)(Stored const&);  ///< by hand, on whole tensors
    /// Cut dimension of each target, and whether gate and up are cut block by block; targets not named are replicated.
    struct Cut {
        char const* target;
        std::size_t dim;
        bool is_packed;
    };
    std::vector<Cut> cuts;
};

std::ostream& operator<<(std::ostream& out, Row const& row) {
    return out << row.what;
}

constexpr char const* kConfig = R"({"num_attention_heads": 4, "num_key_value_heads": 2, "q_rows": 8, "kv_rows": 4,
    "experts": 2, "gate_up": 8, "hidden": 4})";

NaiveTensor chunk_of(NaiveTensor const& whole, std::int64_t index, std::int64_t count) {
    auto const rows = whole.shape[0] / count;
    return sliced(whole, 0, index * rows, (index + 1) * rows);
}

/// Rows of @p whole that a rank holds, worked out row by row: by the ceil rule, in each half if packed.
NaiveTensor expected_shard(NaiveTensor const& whole, Row::Cut const& cut, std::int64_t rank, std::int64_t tp) {
    auto const extent = whole.shape[cut.dim];
    auto const block = cut.is_packed ? extent / 2 : extent;
    auto const piece = (block + tp - 1) / tp;
    std::vector<NaiveTensor> rows = {sliced(whole, cut.dim, 0, 0)};
    for (std::int64_t i = 0; i < extent; ++i) {
        if (i % block / piece == rank) { rows.push_back(sliced(whole, cut.dim, i, i + 1)); }
    }
    return joined(rows, cut.dim);
}

class WrongInTheReference : public ::testing::TestWithParam<Row> {};

TEST_P(WrongInTheReference, EveryRankHoldsItsShardOfTheConvertedWhole) {
    auto const& row = GetParam();
    auto const tensors = stored_tensors(row.stored);
    auto const wholes = row.convert(tensors);
    for (std::int64_t const tp : {1, 2, 3, 4, 5, 8}) {
        Model const model(tensors, architecture_of(row.transform, row.plan), {.mesh = {.tp = tp}}, kConfig);
        EXPECT_EQ(model.names().size(), wholes.size());
        for (auto const& [name, whole] : wholes) {
            EXPECT_EQ(model.whole(name), whole) << name;
            auto const cut =
                std::find_if(row.cuts.begin(), row.cuts.end(), [&](auto const& c) { return c.target == name; });
            for (std::int64_t rank = 0; rank < tp; ++rank) {
                auto const expected = cut == row.cuts.end() ? whole : expected_shard(whole, *cut, rank, tp);
                EXPECT_EQ(model.shard(name, rank), expected) << name << " on rank " << rank << " of " << tp;
            }
        }
    }
}

using Wholes = std::map<std::string, NaiveTensor>;

Wholes experts(Stored const& s) {
    auto const gate =
        stacked({s.at("experts.0.w1.weight"), s.at("experts.1.w1.weight"), s.at("experts.2.w1.weight")}, 0);
    auto const up = stacked({s.at("experts.0.w3.weight"), s.at("experts.1.w3.weight"), s.at("experts.2.w3.weight")}, 0);
    return {{"experts.gate_up_proj", joined({gate, up}, 1)}};
}

std::vector<std::pair<std::string, Shape>> expert_tensors(std::int64_t rows) {
    std::vector<std::pair<std::string, Shape>> tensors;
    for (auto const* part : {"w1", "w3"}) {
        for (int i = 0; i < 3; ++i) {
            tensors.push_back({"experts." + std::to_string(i) + "." + part + ".weight", {rows, 4}});
        }
    }
    return tensors;
}

constexpr char const* kExperts =
    R"({"convert": ["experts.*.w1.weight", "experts.*.w3.weight"], "to": "experts.gate_up_proj",
                                     "ops": [{"op": "MergeModulelist", "dim": 0}, {"op": "Concatenate", "dim": 1}]})";
constexpr char const* kQkvChunk = R"({"convert": "qkv", "to": ["q", "k", "v"], "ops": [{"op": "Chunk", "dim": 0}]})";

Wholes three_chunks(Stored const& s) {
    auto const& qkv = s.at("qkv.weight");
    return {{"q.weight", chunk_of(qkv, 0, 3)}, {"k.weight", chunk_of(qkv, 1, 3)}, {"v.weight", chunk_of(qkv, 2, 3)}};
}

INSTANTIATE_TEST_SUITE_P(
    Concatenate, WrongInTheReference,
    ::testing::Values(
        Row{"MergeModulelist(0) and Concatenate(1) to plain shard 1",
            kExperts,
            R"("experts.gate_up_proj": "colwise")",
            expert_tensors(5),
            experts,
            {{"experts.gate_up_proj", 1, false}}},
        Row{"MergeModulelist(0) and Concatenate(1) to packed 1, ranks without rows",
            kExperts,
            R"("experts.gate_up_proj": "packed_colwise")",
            expert_tensors(2),
            experts,
            {{"experts.gate_up_proj", 1, true}}},
        Row{"stacked experts to shard 0, ranks without an expert",
            kExperts,
            R"("experts.gate_up_proj": {"shard": 0})",
            expert_tensors(2),
            experts,
            {{"experts.gate_up_proj", 0, false}}},
        Row{"dense Concatenate(0) of gate and up to packed 0",
            R"({"convert": ["gate.weight", "up.weight"], "to": "gate_up.weight", )"
            R"("ops": [{"op": "Concatenate", "dim": 0}]})",
            R"("gate_up": "packed_colwise")",
            {{"gate.weight", {6, 3}}, {"up.weight", {6, 3}}},
            [](Stored const& s) -> Wholes {
                return {{"gate_up.weight", joined({s.at("gate.weight"), s.at("up.weight")}, 0)}};
            },
            {{"gate_up.weight", 0, true}}},
        Row{"Concatenate(1) of stacked gate and up to packed 1",
            R"({"convert": ["gate", "up"], "to": "gate_up", "ops": [{"op": "Concatenate", "dim": 1}]})",
            R"("gate_up": "packed_colwise")",
            {{"gate", {2, 5, 3}}, {"up", {2, 5, 3}}},
            [](Stored const& s) -> Wholes {
                return {{"gate_up", joined({s.at("gate"), s.at("up")}, 1)}};
            },
            {{"gate_up", 1, true}}},
        Row{"dense Concatenate(0) of q, k and v to shard 0",
            R"({"convert": ["q.weight", "k.weight", "v.weight"], "to": "qkv.weight", )"
            R"("ops": [{"op": "Concatenate", "dim": 0}]})",
            R"("qkv": "colwise")",
            {{"q.weight", {8, 3}}, {"k.weight", {4, 3}}, {"v.weight", {4, 3}}},
            [](Stored const& s) -> Wholes {
                return {{"qkv.weight", joined({s.at("q.weight"), s.at("k.weight"), s.at("v.weight")}, 0)}};
            },
            {{"qkv.weight", 0, false}}},
        Row{"Concatenate(0) of unequal parts of a table to shard 0",
            R"({"convert": "table.shard_*.weight", "to": "table.weight", "ops": [{"op": "Concatenate", "dim": 0}]})",
            R"("table": "embedding_rowwise")",
            {{"table.shard_0.weight", {4, 2}}, {"table.shard_2.weight", {3, 2}}, {"table.shard_10.weight", {1, 2}}},
            [](Stored const& s) -> Wholes {
                return {{"table.weight", joined({s.at("table.shard_0.weight"), s.at("table.shard_2.weight"),
                                                 s.at("table.shard_10.weight")},
                                                0)}};
            },
            {{"table.weight", 0, false}}}));

INSTANTIATE_TEST_SUITE_P(
    ChunkAndSplit, WrongInTheReference,
    ::testing::Values(Row{"Chunk(0) of qkv to shard 0",
                          kQkvChunk,
                          R"("q": "colwise", "k": "colwise", "v": "colwise")",
                          {{"qkv.weight", {12, 2}}},
                          three_chunks,
                          {{"q.weight", 0, false}, {"k.weight", 0, false}, {"v.weight", 0, false}}},
                      Row{"Chunk(0), only the first target cut",
                          kQkvChunk,
                          R"("q": "colwise")",
                          {{"qkv.weight", {12, 2}}},
                          three_chunks,
                          {{"q.weight", 0, false}}},
                      Row{"Chunk(0), only a later target cut",
                          kQkvChunk,
                          R"("v": "colwise")",
                          {{"qkv.weight", {12, 2}}},
                          three_chunks,
                          {{"v.weight", 0, false}}},
                      Row{"Chunk(0) and PermuteForRope to shard 0",
                          R"({"convert": "qkv", "to": ["q", "k", "v"], )"
                          R"("ops": [{"op": "Chunk", "dim": 0}, {"op": "PermuteForRope", "names": ["q", "k"]}]})",
                          R"("q": "colwise", "k": "colwise", "v": "colwise")",
                          {{"qkv.weight", {48, 1}}},
                          [](Stored const& s) -> Wholes {
                              auto parts = three_chunks(s);
                              for (auto const* name : {"q.weight", "k.weight"}) {
                                  parts[name] = interleaved(parts[name], 0, 4, false);
                              }
                              return parts;
                          },
                          {{"q.weight", 0, false}, {"k.weight", 0, false}, {"v.weight", 0, false}}},
                      Row{"Split(0) of unequal q, k and v to shard 0",
                          R"({"convert": "att_proj", "to": ["q", "k", "v"], )"
                          R"("ops": [{"op": "Split", "dim": 0, "sizes": ["q_rows", "kv_rows", "kv_rows"]}]})",
                          R"("q": "colwise", "k": "colwise", "v": "colwise")",
                          {{"att_proj.weight", {16, 2}}},
                          [](Stored const& s) -> Wholes {
                              auto const& fused = s.at("att_proj.weight");
                              return {{"q.weight", sliced(fused, 0, 0, 8)},
                                      {"k.weight", sliced(fused, 0, 8, 12)},
                                      {"v.weight", sliced(fused, 0, 12, 16)}};
                          },
                          {{"q.weight", 0, false}, {"k.weight", 0, false}, {"v.weight", 0, false}}}));

constexpr char const* kTransposeUnlessShape =
    R"({"convert": "experts.gate_up_proj", "to": "experts.gate_up_proj", "ops": [{"op": "Transpose", "dim0": 1, )"
    R"("dim1": 2, "unless_shape": ["experts", "gate_up", "hidden"]}]})";

INSTANTIATE_TEST_SUITE_P(
    Transpose, WrongInTheReference,
    ::testing::Values(
        Row{"Transpose(0,1) cut along its rows",
            R"({"convert": "gate.weight", "to": "gate.weight", "ops": [{"op": "Transpose", "dim0": 0, "dim1": 1}]})",
            R"("gate": "colwise")",
            {{"gate.weight", {3, 7}}},
            [](Stored const& s) -> Wholes {
                return {{"gate.weight", swapped(s.at("gate.weight"), 0, 1)}};
            },
            {{"gate.weight", 0, false}}},
        Row{"Transpose(0,1) cut along its columns, square",
            R"({"convert": "gate.weight", "to": "gate.weight", "ops": [{"op": "Transpose", "dim0": 0, "dim1": 1}]})",
            R"("gate": "rowwise")",
            {{"gate.weight", {6, 6}}},
            [](Stored const& s) -> Wholes {
                return {{"gate.weight", swapped(s.at("gate.weight"), 0, 1)}};
            },
            {{"gate.weight", 1, false}}},
        Row{"Transpose(1,2) of stacked experts to packed 1",
            R"({"convert": "experts.gate_up_proj", "to": "experts.gate_up_proj", )"
            R"("ops": [{"op": "Transpose", "dim0": 1, "dim1": 2}]})",
            R"("experts.gate_up_proj": "packed_colwise")",
            {{"experts.gate_up_proj", {2, 4, 8}}},
            [](Stored const& s) -> Wholes {
                return {{"experts.gate_up_proj", swapped(s.at("experts.gate_up_proj"), 1, 2)}};
            },
            {{"experts.gate_up_proj", 1, true}}},
        Row{"Transpose unless the shape is the model's, stored the other way",
            kTransposeUnlessShape,
            R"("experts.gate_up_proj": "packed_colwise")",
            {{"experts.gate_up_proj", {2, 4, 8}}},
            [](Stored const& s) -> Wholes {
                return {{"experts.gate_up_proj", swapped(s.at("experts.gate_up_proj"), 1, 2)}};
            },
            {{"experts.gate_up_proj", 1, true}}},
        Row{"Transpose unless the shape is the model's, stored so",
            kTransposeUnlessShape,
            R"("experts.gate_up_proj": "packed_colwise")",
            {{"experts.gate_up_proj", {2, 8, 4}}},
            [](Stored const& s) -> Wholes { return {{"experts.gate_up_proj", s.at("experts.gate_up_proj")}}; },
            {{"experts.gate_up_proj", 1, true}}}));

INSTANTIATE_TEST_SUITE_P(
    Permutations, WrongInTheReference,
    ::testing::Values(Row{"PermuteForRope of a weight to shard 0",
                          R"({"convert": "wq", "to": "q", "ops": [{"op": "PermuteForRope"}]})",
                          R"("q": "colwise")",
                          {{"wq.weight", {16, 2}}},
                          [](Stored const& s) -> Wholes {
                              return {{"q.weight", interleaved(s.at("wq.weight"), 0, 4, false)}};
                          },
                          {{"q.weight", 0, false}}},
                      Row{"PermuteForRope of a bias to shard 0",
                          R"({"convert": "wq", "to": "q", "ops": [{"op": "PermuteForRope"}]})",
                          R"("q": "colwise")",
                          {{"wq.bias", {16}}},
                          [](Stored const& s) -> Wholes {
                              return {{"q.bias", interleaved(s.at("wq.bias"), 0, 4, false)}};
                          },
                          {{"q.bias", 0, false}}},
                      Row{"PermuteForRope of grouped key heads to shard 0",
                          R"({"convert": "wk", "to": "k_proj", "ops": [{"op": "PermuteForRope", "kv_names": ["wk"]}]})",
                          R"("k_proj": "colwise")",
                          {{"wk.weight", {8, 2}}},
                          [](Stored const& s) -> Wholes {
                              return {{"k_proj.weight", interleaved(s.at("wk.weight"), 0, 2, false)}};
                          },
                          {{"k_proj.weight", 0, false}}},
                      Row{"Interleave to packed gate and up",
                          R"({"convert": "w13", "to": "gate_up_proj", "ops": [{"op": "Interleave", "dim": 1}]})",
                          R"("gate_up_proj": "packed_colwise")",
                          {{"w13", {2, 8, 3}}},
                          [](Stored const& s) -> Wholes {
                              return {{"gate_up_proj", interleaved(s.at("w13"), 1, 1, false)}};
                          },
                          {{"gate_up_proj", 1, true}}},
                      Row{"Interleave to plain shard 1",
                          R"({"convert": "w13", "to": "gate_up_proj", "ops": [{"op": "Interleave", "dim": 1}]})",
                          R"("gate_up_proj": "colwise")",
                          {{"w13", {2, 8, 3}}},
                          [](Stored const& s) -> Wholes {
                              return {{"gate_up_proj", interleaved(s.at("w13"), 1, 1, false)}};
                          },
                          {{"gate_up_proj", 1, false}}},
                      Row{"Interleave and Chunk with an odd number of rows a rank",
                          R"({"convert": "w13", "to": ["gate", "up"], )"
                          R"("ops": [{"op": "Interleave", "dim": 0}, {"op": "Chunk", "dim": 0}]})",
                          R"("gate": "colwise", "up": "colwise")",
                          {{"w13.weight", {6, 2}}},
                          [](Stored const& s) -> Wholes {
                              auto const halves = interleaved(s.at("w13.weight"), 0, 1, false);
                              return {{"gate.weight", chunk_of(halves, 0, 2)}, {"up.weight", chunk_of(halves, 1, 2)}};
                          },
                          {{"gate.weight", 0, false}, {"up.weight", 0, false}}}));

// The same in plain numbers: what the reference was seen to hold on two ranks, and what is right.

using ::testing::ElementsAre;

TEST(WrongRows, ChunkOnTwoRanksGivesRankZeroTheFirstRowsOfQAndOfKAndOfV) {
    // Four rows each of q, k, v. The reference's rank 0 ends up with q=(0,1), k=(2,3), v=(4,5).
    Model const model(stored_tensors({{"qkv", {12}}}),
                      architecture_of(kQkvChunk, R"("q": "colwise", "k": "colwise", "v": "colwise")"),
                      {.mesh = {.tp = 2}});
    EXPECT_THAT(model.shard("q", 0).values, ElementsAre(0, 1));
    EXPECT_THAT(model.shard("k", 0).values, ElementsAre(4, 5));
    EXPECT_THAT(model.shard("v", 0).values, ElementsAre(8, 9));
    EXPECT_THAT(model.shard("v", 1).values, ElementsAre(10, 11));
}

TEST(WrongRows, PackedDenseConcatenationKeepsNeighbouringRows) {
    // The reference's rank 0 ends up with gate rows 0, 2 and up rows 0, 2.
    Model const model(stored_tensors({{"gate", {4, 1}}, {"up", {4, 1}}}),
                      architecture_of(R"({"convert": ["gate", "up"], "to": "gate_up", "ops": [{"op": "Concatenate"}]})",
                                      R"("gate_up": "packed_colwise")"),
                      {.mesh = {.tp = 2}});
    EXPECT_THAT(model.shard("gate_up", 0).values, ElementsAre(0, 1, 4, 5));
    EXPECT_THAT(model.shard("gate_up", 1).values, ElementsAre(2, 3, 6, 7));
}

TEST(WrongRows, RopePermutationUsesTheHeadsOfTheWholeTensor) {
    // 16 rows in 4 heads. The reference's rank 0 keeps rows 0, 1, 2, 3 of each head in place.
    Model const model(
        stored_tensors({{"wq", {16}}}),
        architecture_of(R"({"convert": "wq", "to": "q", "ops": [{"op": "PermuteForRope"}]})", R"("q": "colwise")"),
        {.mesh = {.tp = 2}}, kConfig);
    EXPECT_THAT(model.shard("q", 0).values, ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
    EXPECT_THAT(model.shard("q", 1).values, ElementsAre(8, 10, 9, 11, 12, 14, 13, 15));
}

TEST(WrongRows, InterleavedGateAndUpComeApartBeforeTheCut) {
    // I = 4: gate rows are the even ones. The reference's rank 0 ends up with g0, g2, u0, u2.
    Model const model(stored_tensors({{"w13", {1, 8, 1}}}),
                      architecture_of(R"({"convert": "w13", "to": "gu", "ops": [{"op": "Interleave", "dim": 1}]})",
                                      R"("gu": "packed_colwise")"),
                      {.mesh = {.tp = 2}});
    EXPECT_THAT(model.shard("gu", 0).values, ElementsAre(0, 2, 1, 3));
    EXPECT_THAT(model.shard("gu", 1).values, ElementsAre(4, 6, 5, 7));
}

}  // namespace
}  // namespace shardwise::test
