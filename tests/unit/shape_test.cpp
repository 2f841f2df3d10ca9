#include <shardwise/shape.hpp>

#include <vector>

#include <gmock/gmock.h>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

TEST(Shape, AScalarHasOneElementAndAnEmptyTensorNone) {
    EXPECT_EQ(Shape().num_elements(), 1);
    EXPECT_EQ((Shape{2, 0, 3}).num_elements(), 0);
    EXPECT_EQ((Shape{2, 5, 3}).num_elements(), 30);
}

TEST(Shape, DimensionsAreInsertedAndTakenOutAnywhere) {
    Shape const shape = {2, 3, 4};
    EXPECT_EQ(shape.with_inserted(0, 9), (Shape{9, 2, 3, 4}));
    EXPECT_EQ(shape.with_inserted(2, 9), (Shape{2, 3, 9, 4}));
    EXPECT_EQ(shape.with_inserted(3, 9), (Shape{2, 3, 4, 9}));
    EXPECT_EQ(shape.without(0), (Shape{3, 4}));
    EXPECT_EQ(shape.without(2), (Shape{2, 3}));
    EXPECT_EQ((Shape{7}).without(0), Shape());
}

TEST(Shape, EqualityLooksAtRankAndExtentsOnly) {
    EXPECT_NE((Shape{2, 3}), (Shape{2, 3, 1}));
    EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
    EXPECT_EQ((Shape{2, 3, 4}).without(2), (Shape{2, 3})) << "what was taken out does not count";
}

TEST(Shape, MoreThanEightDimensionsAreAnError) {
    std::vector<std::int64_t> const nine(9, 1);
    EXPECT_NO_THROW(Shape(std::span(nine).first(8)));
    EXPECT_THAT(error_of([&] { Shape const shape(nine); }), IsError(Errc::input, "9 dimensions, at most 8"));
    EXPECT_THAT(error_of([&] { Shape(std::span(nine).first(8)).with_inserted(3, 1); }),
                IsError(Errc::input, "at most 8"));
}

TEST(Shape, IsPrintedAsAList) {
    EXPECT_EQ(to_string(Shape()), "[]");
    EXPECT_EQ(to_string(Shape{128, 64}), "[128, 64]");
}

}  // namespace
}  // namespace shardwise::test
