// Each operation of a converter on whole tensors, against values written down by hand.
#include "mapping/operation.hpp"

#include <gtest/gtest.h>

#include "support/run_operations.hpp"

namespace shardwise::test {
namespace {

using Values = std::vector<std::int64_t>;

struct Expected {
    std::string key;
    Shape shape;
    Values values;
};

struct OperationCase {
    char const* what;
    std::vector<Operation> operations;
    Inputs inputs;
    std::vector<std::string> targets;
    std::vector<Expected> expected;
};

std::ostream& operator<<(std::ostream& out, OperationCase const& operation) {
    return out << operation.what;
}

class OnWholeTensors : public ::testing::TestWithParam<OperationCase> {};

TEST_P(OnWholeTensors, GivesTheValuesWrittenDown) {
    auto const& [what, operations, inputs, targets, expected] = GetParam();
    auto const outputs = run_operations(operations, inputs, targets);
    ASSERT_EQ(outputs.size(), expected.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        EXPECT_EQ(outputs[i].key, expected[i].key);
        EXPECT_EQ(outputs[i].tensor.shape, expected[i].shape) << expected[i].key;
        EXPECT_EQ(outputs[i].tensor.values, expected[i].values) << expected[i].key;
    }
}

INSTANTIATE_TEST_SUITE_P(
    Chunk, OnWholeTensors,
    ::testing::Values(OperationCase{"even",
                                    {Chunk{0}},
                                    {{"qkv", {{6}}}},
                                    {"q", "k", "v"},
                                    {{"q", {2}, {0, 1}}, {"k", {2}, {2, 3}}, {"v", {2}, {4, 5}}}},
                      OperationCase{"pieces are ceil(5/3), the last shorter",
                                    {Chunk{0}},
                                    {{"s", {{5}}}},
                                    {"a", "b", "c"},
                                    {{"a", {2}, {0, 1}}, {"b", {2}, {2, 3}}, {"c", {1}, {4}}}},
                      OperationCase{"seven in three",
                                    {Chunk{0}},
                                    {{"s", {{7}}}},
                                    {"a", "b", "c"},
                                    {{"a", {3}, {0, 1, 2}}, {"b", {3}, {3, 4, 5}}, {"c", {1}, {6}}}},
                      OperationCase{"along columns",
                                    {Chunk{1}},
                                    {{"s", {{2, 4}}}},
                                    {"a", "b"},
                                    {{"a", {2, 2}, {0, 1, 4, 5}}, {"b", {2, 2}, {2, 3, 6, 7}}}},
                      OperationCase{"a stated number of pieces",
                                    {Chunk{0, "parts"}},
                                    {{"s", {{7}}}},
                                    {"a.*.w"},
                                    {{"a.0.w", {3}, {0, 1, 2}}, {"a.1.w", {3}, {3, 4, 5}}, {"a.2.w", {1}, {6}}}},
                      OperationCase{
                          "one target takes all", {Chunk{0}}, {{"s", {{3}}}}, {"a"}, {{"a", {3}, {0, 1, 2}}}}));

INSTANTIATE_TEST_SUITE_P(Split, OnWholeTensors,
                         ::testing::Values(OperationCase{
                             "unequal parts",
                             {Split{0, {"q_rows", "kv_rows", "kv_rows"}}},
                             {{"qkv", {{8}}}},
                             {"q", "k", "v"},
                             {{"q", {4}, {0, 1, 2, 3}}, {"k", {2}, {4, 5}}, {"v", {2}, {6, 7}}}}));

INSTANTIATE_TEST_SUITE_P(Concatenate, OnWholeTensors,
                         ::testing::Values(OperationCase{"in the order of the sources",
                                                         {Concatenate{0}},
                                                         {{"k", {{2}}}, {"q", {{3}}}},
                                                         {"qk"},
                                                         {{"qk", {5}, {0, 1, 2, 3, 4}}}},
                                           OperationCase{"along columns",
                                                         {Concatenate{1}},
                                                         {{"a", {{2, 1}}}, {"b", {{2, 2}}}},
                                                         {"ab"},
                                                         {{"ab", {2, 3}, {0, 2, 3, 1, 4, 5}}}},
                                           OperationCase{"inside a source in the collected order",
                                                         {Concatenate{0}},
                                                         {{"shards", {{1}, {2}, {1}}}},
                                                         {"table"},
                                                         {{"table", {4}, {0, 1, 2, 3}}}}));

INSTANTIATE_TEST_SUITE_P(MergeModulelist, OnWholeTensors,
                         ::testing::Values(OperationCase{"stacks on a new outermost dimension",
                                                         {MergeModulelist{0}},
                                                         {{"w", {{2}, {2}, {2}}}},
                                                         {"stack"},
                                                         {{"stack", {3, 2}, {0, 1, 2, 3, 4, 5}}}},
                                           OperationCase{"or on an inner one",
                                                         {MergeModulelist{1}},
                                                         {{"w", {{2}, {2}}}},
                                                         {"stack"},
                                                         {{"stack", {2, 2}, {0, 2, 1, 3}}}},
                                           OperationCase{"a single expert makes a stack of one",
                                                         {MergeModulelist{0}},
                                                         {{"w", {{2}}}},
                                                         {"stack"},
                                                         {{"stack", {1, 2}, {0, 1}}}},
                                           OperationCase{"several sources keep their names",
                                                         {MergeModulelist{0}},
                                                         {{"g", {{1}, {1}}}, {"u", {{1}, {1}}}},
                                                         {"gu"},
                                                         {{"g", {2, 1}, {0, 1}}, {"u", {2, 1}, {2, 3}}}},
                                           OperationCase{"a merged tensor passes through",
                                                         {MergeModulelist{0}, MergeModulelist{0}},
                                                         {{"w", {{1}, {1}}}},
                                                         {"stack"},
                                                         {{"stack", {2, 1}, {0, 1}}}}));

INSTANTIATE_TEST_SUITE_P(SplitModulelist, OnWholeTensors,
                         ::testing::Values(OperationCase{"one tensor an index, that dimension gone and no other",
                                                         {SplitModulelist{0}},
                                                         {{"s", {{2, 1, 2}}}},
                                                         {"e.*.w"},
                                                         {{"e.0.w", {1, 2}, {0, 1}}, {"e.1.w", {1, 2}, {2, 3}}}},
                                           OperationCase{"along an inner dimension",
                                                         {SplitModulelist{1}},
                                                         {{"s", {{2, 2}}}},
                                                         {"e.*"},
                                                         {{"e.0", {2}, {0, 2}}, {"e.1", {2}, {1, 3}}}}));

INSTANTIATE_TEST_SUITE_P(
    Transpose, OnWholeTensors,
    ::testing::Values(
        OperationCase{"of a matrix", {Transpose{0, 1}}, {{"s", {{2, 3}}}}, {"t"}, {{"t", {3, 2}, {0, 3, 1, 4, 2, 5}}}},
        OperationCase{"of the matrices of a stack",
                      {Transpose{1, 2}},
                      {{"s", {{2, 1, 2}}}},
                      {"t"},
                      {{"t", {2, 2, 1}, {0, 1, 2, 3}}}},
        OperationCase{
            "a square one moves, too", {Transpose{0, 1}}, {{"s", {{2, 2}}}}, {"t"}, {{"t", {2, 2}, {0, 2, 1, 3}}}},
        OperationCase{"what has the model's shape passes",
                      {Transpose{0, 1, {"kv_rows", "parts"}}},
                      {{"s", {{2, 3}}}},
                      {"t"},
                      {{"t", {2, 3}, {0, 1, 2, 3, 4, 5}}}},
        OperationCase{"what has not is swapped",
                      {Transpose{0, 1, {"kv_rows", "parts"}}},
                      {{"s", {{3, 2}}}},
                      {"t"},
                      {{"t", {2, 3}, {0, 2, 4, 1, 3, 5}}}}));

// Two tensors a and b of five experts with two rows: text experts 0 to 2, vision experts 3 and 4.
INSTANTIATE_TEST_SUITE_P(
    Ernie, OnWholeTensors,
    ::testing::Values(
        OperationCase{"five experts of one source in two groups",
                      {ErnieFuseAndSplitTextVisionExperts{}},
                      {{"down", {{2, 1}, {2, 1}, {2, 1}, {2, 1}, {2, 1}}}},
                      {"text", "vision"},
                      {{"text", {3, 2, 1}, {0, 1, 2, 3, 4, 5}}, {"vision", {2, 2, 1}, {6, 7, 8, 9}}}},
        OperationCase{"two sources are joined expert by expert",
                      {ErnieFuseAndSplitTextVisionExperts{}},
                      {{"gate", {{1, 2}, {1, 2}, {1, 2}, {1, 2}}}, {"up", {{1, 2}, {1, 2}, {1, 2}, {1, 2}}}},
                      {"text", "vision"},
                      {{"text", {2, 2, 2}, {0, 1, 8, 9, 2, 3, 10, 11}},
                       {"vision", {2, 2, 2}, {4, 5, 12, 13, 6, 7, 14, 15}}}},
        OperationCase{"and back",
                      {ErnieSplitAndDecoupleTextVisionExperts{}},
                      {{"text", {{2, 2, 2}}}, {"vision", {{1, 2, 2}}}},
                      {"e.*.gate", "e.*.up"},
                      {{"e.0.gate", {1, 2}, {0, 1}},
                       {"e.1.gate", {1, 2}, {4, 5}},
                       {"e.2.gate", {1, 2}, {8, 9}},
                       {"e.0.up", {1, 2}, {2, 3}},
                       {"e.1.up", {1, 2}, {6, 7}},
                       {"e.2.up", {1, 2}, {10, 11}}}}));

INSTANTIATE_TEST_SUITE_P(
    Convolution, OnWholeTensors,
    ::testing::Values(
        OperationCase{"to a matrix",
                      {Conv3dToLinear{}},
                      {{"s", {{2, 2, 1, 1, 2}}}},
                      {"t"},
                      {{"t", {2, 4}, {0, 1, 2, 3, 4, 5, 6, 7}}}},
        OperationCase{"a matrix passes", {Conv3dToLinear{}}, {{"s", {{1, 2}}}}, {"t"}, {{"t", {1, 2}, {0, 1}}}},
        OperationCase{"of a matrix",
                      {LinearToConv3d{"channels", {"frames", "patch", "patch"}}},
                      {{"s", {{1, 8}}}},
                      {"t"},
                      {{"t", {1, 2, 1, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7}}}},
        OperationCase{"a convolution passes",
                      {LinearToConv3d{"channels", {"frames", "patch", "patch"}}},
                      {{"s", {{1, 1, 1, 1, 2}}}},
                      {"t"},
                      {{"t", {1, 1, 1, 1, 2}, {0, 1}}}}));

INSTANTIATE_TEST_SUITE_P(
    Interleave, OnWholeTensors,
    ::testing::Values(
        OperationCase{
            "pairs to halves", {Interleave{0, false}}, {{"s", {{6}}}}, {"t"}, {{"t", {6}, {0, 2, 4, 1, 3, 5}}}},
        OperationCase{
            "halves to pairs", {Interleave{0, true}}, {{"s", {{6}}}}, {"t"}, {{"t", {6}, {0, 3, 1, 4, 2, 5}}}},
        OperationCase{"along columns",
                      {Interleave{1, false}},
                      {{"s", {{2, 4}}}},
                      {"t"},
                      {{"t", {2, 4}, {0, 2, 1, 3, 4, 6, 5, 7}}}},
        OperationCase{"then chunk: gate and up stored row by row in turn",
                      {Interleave{0, false}, Chunk{0}},
                      {{"gu", {{6}}}},
                      {"gate", "up"},
                      {{"gate", {3}, {0, 2, 4}}, {"up", {3}, {1, 3, 5}}}}));

// Two heads of four rows: 0 1 2 3 | 4 5 6 7.
INSTANTIATE_TEST_SUITE_P(
    PermuteForRope, OnWholeTensors,
    ::testing::Values(
        OperationCase{
            "inside each head", {PermuteForRope{}}, {{"q", {{8}}}}, {"t"}, {{"t", {8}, {0, 2, 1, 3, 4, 6, 5, 7}}}},
        OperationCase{"inverse undoes it",
                      {PermuteForRope{}, PermuteForRope{.names = {}, .kv_names = {}, .inverse = true}},
                      {{"q", {{8}}}},
                      {"t"},
                      {{"t", {8}, {0, 1, 2, 3, 4, 5, 6, 7}}}},
        OperationCase{"rows of a matrix move whole",
                      {PermuteForRope{}},
                      {{"q", {{8, 1}}}},
                      {"t"},
                      {{"t", {8, 1}, {0, 2, 1, 3, 4, 6, 5, 7}}}},
        OperationCase{"stacked tensors pass unchanged",
                      {PermuteForRope{}},
                      {{"q", {{2, 2, 1}}}},
                      {"t"},
                      {{"t", {2, 2, 1}, {0, 1, 2, 3}}}},
        OperationCase{"heads of a sub-configuration",
                      {PermuteForRope{.heads = "vision_config.num_attention_heads", .names = {}, .kv_names = {}}},
                      {{"q", {{16}}}},
                      {"t"},
                      {{"t", {16}, {0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15}}}},
        OperationCase{"key/value heads are counted apart",
                      {PermuteForRope{.names = {}, .kv_names = {"wk"}}},
                      {{"wk", {{4}}}},
                      {"k_proj"},
                      {{"k_proj", {4}, {0, 2, 1, 3}}}},
        OperationCase{"after a chunk only the named targets move",
                      {Chunk{0}, PermuteForRope{.names = {"q_proj", "k_proj"}, .kv_names = {}}},
                      {{"qkv", {{24}}}},
                      {"q_proj", "k_proj", "v_proj"},
                      {{"q_proj", {8}, {0, 2, 1, 3, 4, 6, 5, 7}},
                       {"k_proj", {8}, {8, 10, 9, 11, 12, 14, 13, 15}},
                       {"v_proj", {8}, {16, 17, 18, 19, 20, 21, 22, 23}}}},
        OperationCase{"a name means what the entry is called when the operation meets it",
                      {PermuteForRope{.names = {"wq"}, .kv_names = {}}},
                      {{"attention.wq", {{8}}}},
                      {"q_proj"},
                      {{"q_proj", {8}, {0, 2, 1, 3, 4, 6, 5, 7}}}}));

INSTANTIATE_TEST_SUITE_P(Chain, OnWholeTensors,
                         ::testing::Values(
                             // Two experts, one row of gate and up each: stacked by expert, gate rows before up rows.
                             OperationCase{"experts",
                                           {MergeModulelist{0}, Concatenate{1}},
                                           {{"w1", {{1, 2}, {1, 2}}}, {"w3", {{1, 2}, {1, 2}}}},
                                           {"gate_up"},
                                           {{"gate_up", {2, 2, 2}, {0, 1, 4, 5, 2, 3, 6, 7}}}},
                             OperationCase{"stacked, then each transposed",
                                           {MergeModulelist{0}, Transpose{1, 2}},
                                           {{"w2", {{1, 2}, {1, 2}}}},
                                           {"down"},
                                           {{"down", {2, 2, 1}, {0, 1, 2, 3}}}}));

}  // namespace
}  // namespace shardwise::test
