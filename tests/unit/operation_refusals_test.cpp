// What operations refuse, and that they say which one it was and why.
#include <gmock/gmock.h>

#include "support/run_operations.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

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
        run_operations(operations, inputs, targets);
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
        OperationRefused{"a stated number of pieces without a place for their numbers",
                         {Chunk{0, "parts"}},
                         {{"s", {{6}}}},
                         {"a.w"},
                         "Chunk",
                         "one target with a '*'"},
        OperationRefused{"no pieces", {Chunk{0, "none"}}, {{"s", {{6}}}}, {"a.*.w"}, "Chunk", "'none' is 0"},
        OperationRefused{"neither of two layouts",
                         {Transpose{0, 1, {"kv_rows", "parts"}}},
                         {{"s", {{3, 4}}}},
                         {"t"},
                         "Transpose",
                         "shape [3, 4] is [2, 3] neither as it is"},
        OperationRefused{"experts that leave a kind without any",
                         {ErnieFuseAndSplitTextVisionExperts{}},
                         {{"s", {{1}, {1}, {1}, {1}}}},
                         {"x", "y", "z"},
                         "ErnieFuseAndSplitTextVisionExperts",
                         "4 experts in pieces of 2 leave nothing for target 3 of 3"},
        OperationRefused{"experts that one source lacks",
                         {ErnieFuseAndSplitTextVisionExperts{}},
                         {{"a", {{1}, {1}}}, {"b", {{1}}}},
                         {"x", "y"},
                         "ErnieFuseAndSplitTextVisionExperts",
                         "2 tensors match 'a' but 1 match 'b'"},
        OperationRefused{"a convolution in two dimensions",
                         {Conv3dToLinear{}},
                         {{"s", {{1, 2, 2, 2}}}},
                         {"t"},
                         "Conv3dToLinear",
                         "takes 5 or 2 dimensions"},
        OperationRefused{"columns that make no convolution",
                         {LinearToConv3d{"channels", {"frames", "patch", "patch"}}},
                         {{"s", {{1, 6}}}},
                         {"t"},
                         "LinearToConv3d",
                         "6 columns, channels and kernel [2, 1, 2, 2] make 8"},
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
