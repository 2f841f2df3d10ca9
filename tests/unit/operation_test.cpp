// Each operation of a converter on whole tensors, against values written down by hand.
#include "mapping/operation.hpp"

#include <map>

#include <gmock/gmock.h>

#include "support/naive_tensor.hpp"
#include "support/read_view.hpp"
#include <shardwise/error.hpp>

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using Values = std::vector<std::int64_t>;

/// Source texts and the shapes of the tensors that each collected. Values count on from one tensor to the next.
using Inputs = std::vector<std::pair<std::string, std::vector<Shape>>>;

struct Output {
    std::string key;
    NaiveTensor tensor;
};

std::int64_t size_of(std::string const& name) {
    std::map<std::string, std::int64_t> const sizes = {{"num_attention_heads", 2},
                                                       {"vision_config.num_attention_heads", 4},
                                                       {"num_key_value_heads", 1},
                                                       {"q_rows", 4},
                                                       {"kv_rows", 2},
                                                       {"negative", -2}};
    auto const found = sizes.find(name);
    if (found == sizes.end()) { throw Error(Errc::input, "no size " + name); }
    return found->second;
}

std::vector<Output> run(std::vector<Operation> const& operations, Inputs const& inputs,
                        std::vector<std::string> const& targets) {
    std::vector<NaiveTensor> contents;
    std::vector<Bucket> buckets;
    std::int64_t next = 0;
    for (auto const& [key, shapes] : inputs) {
        Bucket bucket{key, {}, true};
        for (auto const& shape : shapes) {
            TensorRecord record;
            record.dtype = DType::bf16;
            record.shape = shape;
            bucket.tensors.push_back(stored(static_cast<std::uint32_t>(contents.size()), record));
            contents.push_back(counting(shape, next));
            next += shape.num_elements();
        }
        buckets.push_back(std::move(bucket));
    }
    std::vector<Output> outputs;
    for (auto const& bucket : apply_operations(operations, std::move(buckets), targets, size_of)) {
        for (auto const& tensor : bucket.tensors) {
            outputs.push_back({bucket.key, read_view(evaluate(tensor), contents)});
        }
    }
    return outputs;
}

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
    auto const outputs = run(operations, inputs, targets);
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
            "a square one moves, too", {Transpose{0, 1}}, {{"s", {{2, 2}}}}, {"t"}, {{"t", {2, 2}, {0, 2, 1, 3}}}}));

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

struct OperationRefused {
    char const* what;
    std::vector<Operation> operations;
    Inputs inputs;
    std::vector<std::string> targets;
    char const* operation;
    char const* reason;
};

std::ostream& operator<<(std::ostream& out, OperationRefused const& refused) {
    return out << refused.what;
}

class RefusedOperation : public ::testing::TestWithParam<OperationRefused> {};

TEST_P(RefusedOperation, NamesTheOperationAndTheReason) {
    auto const& [what, operations, inputs, targets, operation, reason] = GetParam();
    try {
        run(operations, inputs, targets);
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::input);
        EXPECT_THAT(error.what(), AllOf(HasSubstr(operation), HasSubstr(reason)));
    }
}

INSTANTIATE_TEST_SUITE_P(
    Operations, RefusedOperation,
    ::testing::Values(
        // The reference leaves the third target missing without a word: 4 rows in pieces of ceil(4/3) are two pieces.
        OperationRefused{"a chunk with nothing for its last target",
                         {Chunk{0}},
                         {{"s", {{4}}}},
                         {"a", "b", "c"},
                         "Chunk",
                         "nothing for target 3 of 3"},
        OperationRefused{"a chunk of two sources",
                         {Chunk{0}},
                         {{"a", {{4}}}, {"b", {{4}}}},
                         {"x", "y"},
                         "Chunk",
                         "takes one tensor"},
        OperationRefused{"a chunk of two tensors of one source",
                         {Chunk{0}},
                         {{"a", {{4}, {4}}}},
                         {"x", "y"},
                         "Chunk",
                         "takes one tensor"},
        OperationRefused{"a dimension too many",
                         {Chunk{2}},
                         {{"a", {{4, 4}}}},
                         {"x", "y"},
                         "Chunk",
                         "no dimension 2 in shape [4, 4]"},
        OperationRefused{"split sizes that do not add up",
                         {Split{0, {"q_rows", "kv_rows"}}},
                         {{"s", {{7}}}},
                         {"q", "k"},
                         "Split",
                         "[4, 2]"},
        OperationRefused{
            "split sizes for other targets", {Split{0, {"q_rows"}}}, {{"s", {{4}}}}, {"q", "k"}, "Split", "2 targets"},
        OperationRefused{"a negative split size",
                         {Split{0, {"q_rows", "negative"}}},
                         {{"s", {{2}}}},
                         {"q", "k"},
                         "Split",
                         "[4, -2]"},
        OperationRefused{
            "an unknown split size", {Split{0, {"heads"}}}, {{"s", {{2}}}}, {"q"}, "Split", "no size heads"},
        OperationRefused{"a concatenation for two targets",
                         {Concatenate{0}},
                         {{"a", {{2}}}},
                         {"x", "y"},
                         "Concatenate",
                         "makes one target"},
        OperationRefused{"a concatenation of shapes that differ elsewhere",
                         {Concatenate{0}},
                         {{"a", {{2, 3}}}, {"b", {{2, 4}}}},
                         {"x"},
                         "Concatenate",
                         "[2, 3] and [2, 4]"},
        OperationRefused{"a concatenation of other ranks",
                         {Concatenate{0}},
                         {{"a", {{2, 3}}}, {"b", {{2}}}},
                         {"x"},
                         "Concatenate",
                         "[2, 3] and [2]"},
        OperationRefused{"a stack of unequal shapes",
                         {MergeModulelist{0}},
                         {{"a", {{2}, {3}}}},
                         {"x"},
                         "MergeModulelist",
                         "[2] and [3]"},
        OperationRefused{"a transposition of two tensors",
                         {Transpose{0, 1}},
                         {{"a", {{2, 2}, {2, 2}}}},
                         {"x"},
                         "Transpose",
                         "takes one tensor"},
        OperationRefused{
            "a transposition of a vector", {Transpose{0, 1}}, {{"a", {{2}}}}, {"x"}, "Transpose", "no dimension 1"},
        OperationRefused{
            "an odd interleave", {Interleave{0, false}}, {{"a", {{5}}}}, {"x"}, "Interleave", "even length"},
        OperationRefused{"heads that do not divide the rows",
                         {PermuteForRope{}},
                         {{"a", {{7}}}},
                         {"x"},
                         "PermuteForRope",
                         "2 group(s)"},
        OperationRefused{
            "fewer rows than two a head", {PermuteForRope{}}, {{"a", {{2}}}}, {"x"}, "PermuteForRope", "even length"},
        OperationRefused{"a permutation of a list",
                         {PermuteForRope{}},
                         {{"a", {{8}, {8}}}},
                         {"x"},
                         "PermuteForRope",
                         "takes one tensor"}));

TEST(Concatenate, OfDifferentTypesIsRefused) {
    TensorRecord record;
    record.shape = {2};
    record.dtype = DType::bf16;
    auto const first = stored(0, record);
    record.dtype = DType::f32;
    EXPECT_THROW(concatenation_of({first, stored(1, record)}, 0), Error);
    EXPECT_THROW(stack_of({first, stored(1, record)}, 0), Error);
}

}  // namespace
}  // namespace shardwise::test
