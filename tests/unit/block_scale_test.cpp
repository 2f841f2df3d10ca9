// Scaled codes: the reference against values made by hand, the fast version against the reference.
#include "convert/block_scale.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "convert/cast.hpp"
#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

using Bytes = std::vector<std::byte>;
using ::testing::ElementsAre;

Bytes codes(std::vector<int> const& values) {
    Bytes result;
    for (auto const value : values) { result.push_back(static_cast<std::byte>(value)); }
    return result;
}

std::vector<float> floats(Bytes const& bytes) {
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

Bytes bytes_of(std::vector<float> const& values) {
    Bytes bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

Bytes random_bytes(std::mt19937& random, std::size_t count) {
    Bytes bytes(count);
    for (auto& byte : bytes) { byte = static_cast<std::byte>(random()); }
    return bytes;
}

constexpr int kOne = 0x38;  ///< 1 in F8_E4M3
constexpr int kTwo = 0x40;

TEST(BlockGrid, StatedBlocksCountAndTheLastMayBeShort) {
    BlockSize const size = {128, 128};
    EXPECT_EQ(block_grid({576, 7168}, {5, 56}, size), (BlockGrid{7168, 128, 128, 56, 576}));
    EXPECT_EQ(block_grid({256, 448}, {2, 4}, size), (BlockGrid{448, 128, 128, 4, 256})) << "not of 112 columns";
    EXPECT_EQ(block_grid({256, 448}, {2, 4}), (BlockGrid{448, 128, 112, 4, 256}));
    EXPECT_EQ(block_grid({3, 256, 448}, {3, 2, 4}, size), (BlockGrid{448, 128, 128, 4, 768}));
    EXPECT_EQ(block_grid({3, 256, 448}, {2, 4}, size), (BlockGrid{448, 128, 128, 4, 256}));
    EXPECT_EQ(block_grid({6, 4}, {6, 1}, size), (BlockGrid{4, 1, 4, 1, 6})) << "a scale a row: no such blocks";
    EXPECT_EQ(block_grid({6, 4}, {1}, size), (BlockGrid{4, 6, 4, 1, 6}));
    auto const grid = block_grid({576, 300}, {5, 3}, size);
    EXPECT_EQ(grid.scale_of(575 * 300 + 299), 14U);
    EXPECT_EQ(grid.scale_of(512 * 300), 12U);
    EXPECT_EQ(grid.scale_of(127 * 300 + 256), 2U);
    EXPECT_THAT(error_of([&] {
                    block_grid({2, 576, 128}, {2, 5, 1}, size);
                }),
                IsError(Errc::input, "[2, 5, 1]"))
        << "rows of stacked matrices count through";
}

TEST(BlockGrid, FollowsFromTheTwoShapes) {
    EXPECT_EQ(block_grid({256, 512}, {2, 4}), (BlockGrid{512, 128, 128, 4, 256}));
    EXPECT_EQ(block_grid({6, 4}, {6, 1}), (BlockGrid{4, 1, 4, 1, 6})) << "a scale a row";
    EXPECT_EQ(block_grid({6, 4}, {}), (BlockGrid{4, 6, 4, 1, 6})) << "one scale";
    EXPECT_EQ(block_grid({6, 4}, {1}), (BlockGrid{4, 6, 4, 1, 6}));
    EXPECT_EQ(block_grid({3, 4, 64}, {3, 4, 2}), (BlockGrid{64, 1, 32, 2, 12})) << "MXFP4: blocks of 32 in a row";
    EXPECT_EQ(block_grid({3, 4, 64}, {2, 2}), (BlockGrid{64, 2, 32, 2, 4})) << "the same scales for every expert";
}

TEST(BlockGrid, RefusesBlocksThatAreNotWhole) {
    for (auto const& scales : {Shape{5, 2}, Shape{2, 5}, Shape{0, 2}, Shape{6}, Shape{2, 2, 2}}) {
        EXPECT_THAT(error_of([&] { block_grid({6, 4}, scales); }), IsError(Errc::input, "do not divide"));
    }
    EXPECT_THAT(error_of([] { block_grid({3, 4, 64}, {2, 4, 2}); }), IsError(Errc::input, "[2, 4, 2]"));
}

TEST(DequantizeReference, MultipliesEachBlockByItsScale) {
    auto const grid = block_grid({2, 4}, {1, 2});
    auto const scales = bytes_of({2, 0.5});
    Bytes out(8 * sizeof(float));
    dequantize_reference(grid, {scales}, 0, DType::f8_e4m3, codes({kOne, kTwo, kOne, kTwo, kTwo, kTwo, 0, kOne}),
                         DType::f32, out);
    EXPECT_THAT(floats(out), ElementsAre(2, 4, 0.5F, 1, 4, 4, 0, 0.5F));
}

TEST(DequantizeReference, BeginsAnywhereWithThePartOfTheScalesThatIsThere) {
    auto const grid = block_grid({4, 4}, {2, 2});
    auto const scales = bytes_of({3, 4});  // of the lower two blocks
    Bytes out(3 * sizeof(float));
    dequantize_reference(grid, {scales, DType::f32, 2}, 9, DType::f8_e4m3, codes({kOne, kOne, kTwo}), DType::f32, out);
    EXPECT_THAT(floats(out), ElementsAre(3, 4, 8));
}

TEST(DequantizeReference, Mxfp4TakesLowNibblesFirstAndPowersOfTwo) {
    auto const grid = block_grid({1, 64}, {1, 2});
    auto const scales = codes({128, 126});
    Bytes blocks(32, std::byte{0x72});  // 1, 6, 1, 6, ...
    Bytes out(64 * sizeof(float));
    dequantize_reference(grid, {scales, DType::u8}, 0, DType::f4, blocks, DType::f32, out);
    auto const values = floats(out);
    EXPECT_EQ(values[0], 2);
    EXPECT_EQ(values[1], 12);
    EXPECT_EQ(values[31], 12);
    EXPECT_EQ(values[32], 0.5F);
    EXPECT_EQ(values[63], 3);
}

TEST(Dequantize, EqualsTheReferenceForAnyGridScalesAndPart) {
    std::mt19937 random(5);
    static constexpr DType kCodes[] = {DType::f8_e4m3, DType::f8_e5m2, DType::f4, DType::f8_e4m3fnuz};
    static constexpr DType kScales[] = {DType::f32, DType::bf16, DType::f16, DType::f8_e8m0, DType::u8};
    static constexpr DType kNumbers[] = {DType::f32, DType::bf16, DType::f16};
    for (int i = 0; i < 300; ++i) {
        auto const block_rows = static_cast<std::int64_t>(1 + random() % 5);
        auto const block_columns = static_cast<std::int64_t>(2 * (1 + random() % 40));
        auto const grid_rows = static_cast<std::int64_t>(1 + random() % 3);
        auto const grid_columns = static_cast<std::int64_t>(1 + random() % 40);
        bool const is_short = random() % 3 == 0;  // the last blocks
        auto const experts = is_short ? 1 : static_cast<std::int64_t>(1 + random() % 3);
        bool const is_shared = random() % 2 == 0;
        auto const short_rows = is_short ? static_cast<std::int64_t>(random()) % block_rows : 0;
        auto const short_columns = is_short ? static_cast<std::int64_t>(random()) % (block_columns / 2) * 2 : 0;
        Shape const shape = {experts, grid_rows * block_rows - short_rows,
                             grid_columns * block_columns - short_columns};
        auto const scale_shape = is_shared ? Shape{grid_rows, grid_columns} : Shape{experts, grid_rows, grid_columns};
        auto const from = kCodes[random() % std::size(kCodes)];
        auto const to = kNumbers[random() % std::size(kNumbers)];
        auto const scale_type = kScales[random() % std::size(kScales)];
        auto const grid = block_grid(shape, scale_shape, BlockSize{block_rows, block_columns});
        ASSERT_EQ(grid.block_columns, static_cast<std::uint64_t>(block_columns));
        auto const all_scales = random_bytes(
            random, static_cast<std::size_t>(scale_shape.num_elements() * bits(scale_type) / 8));

        auto const count = static_cast<std::uint64_t>(shape.num_elements());
        auto const first = random() % (count / 2) * 2;
        auto const last = first + (1 + random() % ((count - first) / 2)) * 2;
        auto const source = random_bytes(random, (last - first) * static_cast<std::size_t>(bits(from)) / 8);
        auto const to_bytes = static_cast<std::size_t>(bits(to)) / 8;
        Bytes expected((last - first) * to_bytes);
        Bytes out(expected.size());
        BlockScales const scales = {all_scales, scale_type};
        dequantize_reference(grid, scales, first, from, source, to, expected);
        dequantize(grid, scales, first, from, source, to, out);
        ASSERT_EQ(out, expected) << "case " << i;
    }
}

struct Quantized {
    Bytes codes;
    Bytes scales;
    bool operator==(Quantized const&) const = default;
};

template <class Quantize>
Quantized quantized(Quantize quantize, QuantizeShape const& shape, std::vector<float> const& values,
                    ScaleFormat format) {
    Quantized result{Bytes(values.size()), Bytes(shape.blocks() * (format == ScaleFormat::f32 ? 4 : 1))};
    quantize(shape, values, format, result.codes, result.scales);
    return result;
}

TEST(QuantizeReference, ScalesEachBlockToTheGreatestCode) {
    auto const result = quantized(quantize_fp8_reference, {2, 4, 2, 2}, {896, 448, 0, 0, -896, 2, 0, 0},
                                  ScaleFormat::f32);
    EXPECT_THAT(floats(result.scales), ElementsAre(2, 1)) << "a block of zeros has scale 1";
    EXPECT_EQ(result.codes, codes({0x7E, 0x76, 0, 0, 0xFE, kOne, 0, 0}));
}

TEST(QuantizeReference, PowersOfTwoAreRoundedUp) {
    auto const result = quantized(quantize_fp8_reference, {1, 1, 1, 1}, {3}, ScaleFormat::e8m0);
    EXPECT_EQ(result.scales, codes({127 - 7}));
    EXPECT_EQ(decode_reference(DType::f8_e4m3, std::to_integer<std::uint64_t>(result.codes[0])), 384);
    auto const exact = quantized(quantize_fp8_reference, {1, 1, 1, 1}, {448}, ScaleFormat::e8m0);
    EXPECT_EQ(exact.scales, codes({127})) << "a power of two stays";
}

TEST(QuantizeReference, EndsOfTheRangeGiveScalesThatExist) {
    auto const infinity = std::numeric_limits<float>::infinity();
    EXPECT_EQ(quantized(quantize_fp8_reference, {1, 1, 1, 1}, {infinity}, ScaleFormat::e8m0).scales, codes({254}));
    EXPECT_EQ(quantized(quantize_fp8_reference, {1, 1, 1, 1}, {1e-45F}, ScaleFormat::e8m0).scales, codes({0}));
    auto const nan = quantized(quantize_fp8_reference, {1, 2, 1, 2}, {std::nanf(""), 448}, ScaleFormat::f32);
    EXPECT_EQ(nan.codes, codes({0x7F, 0x7E})) << "a NaN stays one and counts for nothing";
}

TEST(Quantize, EqualsTheReferenceAndComesBackCloseToWhatItWas) {
    std::mt19937 random(6);
    std::normal_distribution<float> normal;
    for (int i = 0; i < 100; ++i) {
        QuantizeShape shape;
        shape.block_rows = 1 + random() % 9;
        shape.block_columns = 1 + random() % 70;
        shape.rows = shape.block_rows * (1 + random() % 3);
        shape.columns = shape.block_columns * (1 + random() % 3);
        std::vector<float> values(shape.rows * shape.columns);
        for (auto& value : values) { value = normal(random) * std::ldexp(1.0F, i % 30 - 15); }
        auto const format = i % 2 == 0 ? ScaleFormat::f32 : ScaleFormat::e8m0;
        auto const expected = quantized(quantize_fp8_reference, shape, values, format);
        ASSERT_EQ(quantized(quantize_fp8, shape, values, format), expected) << "case " << i;

        auto const extent = [](std::uint64_t n) { return static_cast<std::int64_t>(n); };
        auto const grid =
            block_grid({extent(shape.rows), extent(shape.columns)}, {extent(shape.rows / shape.block_rows),
                                                                     extent(shape.columns / shape.block_columns)});
        Bytes back(values.size() * sizeof(float));
        auto const scale_type = format == ScaleFormat::f32 ? DType::f32 : DType::f8_e8m0;
        dequantize_reference(grid, {expected.scales, scale_type}, 0, DType::f8_e4m3, expected.codes, DType::f32, back);
        auto const numbers = floats(back);
        float greatest = 0;
        for (auto const value : values) { greatest = std::max(greatest, std::abs(value)); }
        for (std::size_t at = 0; at < values.size(); ++at) {
            // Half a step of 3 mantissa bits; below the least normal code, half a step of 2^-9 at the greatest scale.
            auto const bound = std::max(std::abs(values[at]) / 16, std::ldexp(greatest, -17));
            ASSERT_LE(std::abs(numbers[at] - values[at]), bound) << "case " << i << ", element " << at;
        }
    }
}

}  // namespace
}  // namespace shardwise::test
