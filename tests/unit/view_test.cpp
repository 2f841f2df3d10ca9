// The index maps: hand-made cases, then the law that any chain of operations gives the same elements as working on
// whole tensors does.
#include "mapping/view.hpp"

#include <random>

#include <gmock/gmock.h>

#include "mapping/expression.hpp"
#include "plan/copy_block.hpp"
#include "support/naive_tensor.hpp"
#include "support/random_expression.hpp"
#include "support/read_view.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;

Expression leaf(Shape const& shape) {
    TensorRecord record;
    record.shape = shape;
    return stored(0, record);
}

std::vector<std::int64_t> values_of(Expression const& expression) {
    auto const& stored = expression.inputs.empty() ? expression : expression.inputs.front();
    return read_view(evaluate(expression), {counting(stored.shape)}).values;
}

TEST(View, InterleaveOfSixIsPairsToHalves) {
    EXPECT_THAT(values_of(interleave_of(leaf({6}), 0, 1, false)), ElementsAre(0, 2, 4, 1, 3, 5));
    EXPECT_THAT(values_of(interleave_of(leaf({6}), 0, 1, true)), ElementsAre(0, 3, 1, 4, 2, 5));
}

TEST(View, RopePermutationStaysInsideEachHead) {
    EXPECT_THAT(values_of(interleave_of(leaf({8}), 0, 2, false)), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
}

TEST(View, ColumnShardIsOneRunPerRow) {
    auto const view = slice(whole(0, {4, 6}), 1, 3, 6);
    ASSERT_EQ(view.regions.size(), 1U);
    auto const block = lower(view.regions.front(), view.shape, DType::bf16);
    EXPECT_EQ(block.source, 6U);
    EXPECT_EQ(block.run_bytes, 6U);
    EXPECT_THAT(block.loops, ElementsAre(CopyLoop{4, 12, 6}));
}

TEST(View, RowShardIsOneRun) {
    auto const view = slice(whole(0, {4, 6}), 0, 1, 3);
    auto const block = lower(view.regions.front(), view.shape, DType::bf16);
    EXPECT_EQ(block.source, 12U);
    EXPECT_EQ(block.run_bytes, 24U);
    EXPECT_TRUE(block.loops.empty());
}

TEST(View, EmptyTensorsHaveNoRegions) {
    EXPECT_TRUE(whole(0, {0, 4}).regions.empty());
    EXPECT_TRUE(slice(whole(0, {4, 4}), 0, 2, 2).regions.empty());
}

TEST(View, AnyChainEqualsWholeTensors) {
    std::mt19937 random(20261122);
    int interesting = 0;
    for (int i = 0; i < 20000; ++i) {
        auto const test_case = random_case(random);
        auto const contents = test_case.contents();
        auto const expected = naive(test_case.expression, contents);
        ASSERT_EQ(read_view(evaluate(test_case.expression), contents), expected) << "case " << i;
        interesting += expected.values.size() > 4 ? 1 : 0;
    }
    EXPECT_GT(interesting, 5000);
}

/// Experts: chains that are alike but for their tensors, and one among them that is not.
TEST(View, JoinedChainsEqualWholeTensors) {
    std::vector<NaiveTensor> contents;
    std::vector<Expression> inputs;
    TensorRecord record;
    record.shape = {4, 6};
    for (std::uint32_t i = 0; i < 6; ++i) {
        contents.push_back(counting(record.shape, 100 * i));
        auto chain = slice_of(transpose_of(stored(i, record), 0, 1), 0, i == 4 ? 1 : 2, i == 4 ? 5 : 6);
        inputs.push_back(i == 2 ? std::move(chain) : interleave_of(std::move(chain), 1, 2, false));
    }
    for (std::size_t dim = 0; dim < 3; ++dim) {
        std::vector<Expression> joined = {stack_of(inputs, dim)};
        if (dim < 2) { joined.push_back(concatenation_of(inputs, dim)); }
        for (auto const& expression : joined) {
            EXPECT_EQ(read_view(evaluate(expression), contents), naive(expression, contents)) << "dimension " << dim;
        }
    }
}

}  // namespace
}  // namespace shardwise::test
