// Scales taken through the operations of their codes: every element of the result finds the scale that its code had.
#include "mapping/block_scales.hpp"

#include <gmock/gmock.h>

#include "support/error_of.hpp"
#include "support/random_expression.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;

std::int64_t pick(std::mt19937& random, std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

/// Number, row by row, of the block that element @p index of a tensor of shape @p shape lies in.
std::int64_t block_number(Shape const& shape, Shape const& grid, std::int64_t index) {
    std::int64_t number = 0;
    std::int64_t stride = 1;
    for (std::size_t dim = shape.rank(); dim-- > 0; stride *= grid[dim]) {
        number += index % shape[dim] / (shape[dim] / grid[dim]) * stride;
        index /= shape[dim];
    }
    return number;
}

Expression leaf(std::uint32_t source, DType dtype, Shape const& shape) {
    TensorRecord record;
    record.dtype = dtype;
    record.shape = shape;
    return stored(source, record);
}

/// Codes that count through all sources, and one scale a block that counts on, too.
struct Quantized {
    Quantized(RandomCase const& codes, std::mt19937& random) : contents(codes.contents()) {
        auto const kind = pick(random, 0, 3);
        for (auto const& shape : codes.sources) {
            std::vector<std::int64_t> extents;
            for (auto const extent : shape) {
                // One block over all, one a single index, or blocks of two where they fit.
                auto const choice = kind == 3 ? pick(random, 0, 2) : kind;
                extents.push_back(choice == 0 ? 1 : choice == 2 && extent % 2 == 0 ? extent / 2 : extent);
            }
            grids.emplace_back(extents);
        }
        std::int64_t next = 0;
        for (std::size_t source = 0; source < grids.size(); ++source) {
            auto const& shape = codes.sources[source];
            for (std::int64_t index = 0; index < shape.num_elements(); ++index) {
                scale_of_code.push_back(next + block_number(shape, grids[source], index));
            }
            scales.push_back(counting(grids[source], next));
            next += grids[source].num_elements();
        }
    }

    Expression scales_of(std::uint32_t source) const { return leaf(source, DType::f32, grids[source]); }

    std::vector<NaiveTensor> contents;
    std::vector<Shape> grids;
    std::vector<NaiveTensor> scales;
    std::vector<std::int64_t> scale_of_code;
};

TEST(BlockScales, EveryElementFindsTheScaleOfItsCode) {
    std::mt19937 random(11);
    int followed = 0;
    int refused = 0;
    for (int i = 0; i < 3000; ++i) {
        auto const codes = random_case(random);
        Quantized const quantized(codes, random);
        std::optional<Expression> scales;
        auto const error = error_of(
            [&] { scales = block_scales(codes.expression, [&](auto source) { return quantized.scales_of(source); }); });
        if (error) {
            ++refused;
            continue;
        }
        auto const values = naive(codes.expression, quantized.contents);
        auto const held = naive(*scales, quantized.scales);
        if (values.values.empty()) { continue; }
        ASSERT_TRUE(block_extents(values.shape, held.shape) || values.shape.rank() == 0) << i;
        ++followed;
        for (std::size_t at = 0; at < values.values.size(); ++at) {
            auto const block = block_number(values.shape, held.shape, static_cast<std::int64_t>(at));
            auto const code = static_cast<std::size_t>(values.values[at]);
            ASSERT_EQ(held.values[static_cast<std::size_t>(block)], quantized.scale_of_code[code]) << i << " at " << at;
        }
    }
    EXPECT_GT(followed, 1000);
    EXPECT_GT(refused, 100);
}

TEST(BlockScales, AHalfOfRowsIsAHalfOfBlocksOrAPartOfOne) {
    auto const codes = leaf(0, DType::f8_e4m3, {256, 512});
    auto const grid = [&](Shape const& scales, std::int64_t begin, std::int64_t end) {
        return block_scales(slice_of(codes, 0, begin, end), [&](auto) { return leaf(1, DType::f32, scales); }).shape;
    };
    EXPECT_EQ(grid({4, 2}, 128, 256), Shape({2, 2}));
    EXPECT_EQ(grid({4, 2}, 0, 32), Shape({1, 2}));
    EXPECT_EQ(grid({}, 100, 103), Shape({1, 1}));
    EXPECT_THAT(error_of([&] { grid({4, 2}, 32, 128); }), IsError(Errc::input, "cuts blocks of 64"));
}

TEST(BlockScales, OfATensorAsItIsStoredStayAsTheyAre) {
    auto const codes = leaf(0, DType::f8_e4m3, {72, 64});
    EXPECT_EQ(block_scales(codes, [](auto) { return leaf(1, DType::f32, {5, 2}); }).shape, Shape({5, 2}));
}

TEST(BlockExtents, FollowFromBothShapes) {
    EXPECT_THAT(block_extents({8, 256, 512}, {8, 2, 4}), Optional(ElementsAre(1, 128, 128)));
    EXPECT_THAT(block_extents({8, 256, 512}, {2, 4}), Optional(ElementsAre(8, 128, 128)));
    EXPECT_THAT(block_extents({256, 512}, {1}), Optional(ElementsAre(256, 512)));
    EXPECT_EQ(block_extents({72, 64}, {5, 2}), std::nullopt);
    EXPECT_EQ(block_extents({72, 64}, {72}), std::nullopt) << "rows or columns?";
    EXPECT_EQ(block_extents({0, 64}, {1}), std::nullopt);
}

}  // namespace
}  // namespace shardwise::test
