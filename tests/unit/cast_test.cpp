// Casts: the reference against values made by hand and by ml_dtypes, the fast version against the reference over every
// code of the small types and over edges and random bits of the large ones.
#include "convert/cast.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "support/cast_elements.hpp"
#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

std::string code_name(DType dtype, std::uint64_t code) {
    return std::string(to_string(dtype)) + " " + ::testing::PrintToString(code);
}

TEST(CastReference, MakesTheCodesThatMlDtypesMakes) {
    for (auto const& [bits, codes] : cast_values()) {
        auto const value = std::bit_cast<float>(bits);
        for (std::size_t i = 0; i < kCastTargets.size(); ++i) {
            EXPECT_EQ(encode_reference(value, kCastTargets[i]), codes[i])
                << value << " as " << to_string(kCastTargets[i]);
        }
    }
}

TEST(CastReference, ReadsCodesAsTheFormatsSay) {
    EXPECT_EQ(decode_reference(DType::f8_e4m3, 0x7E), 448.0F);
    EXPECT_EQ(decode_reference(DType::f8_e4m3, 0x01), std::ldexp(1.0F, -9));
    EXPECT_EQ(decode_reference(DType::f8_e4m3, 0x88), -std::ldexp(1.0F, -6));
    EXPECT_TRUE(std::isnan(decode_reference(DType::f8_e4m3, 0xFF)));
    EXPECT_EQ(decode_reference(DType::f8_e5m2, 0x7B), 57344.0F);
    EXPECT_TRUE(std::isinf(decode_reference(DType::f8_e5m2, 0x7C)));
    EXPECT_TRUE(std::isnan(decode_reference(DType::f8_e5m2, 0x7D)));
    EXPECT_EQ(decode_reference(DType::f8_e4m3fnuz, 0x7F), 240.0F);
    EXPECT_TRUE(std::isnan(decode_reference(DType::f8_e4m3fnuz, 0x80)));
    EXPECT_EQ(decode_reference(DType::f8_e8m0, 0), std::ldexp(1.0F, -127));
    EXPECT_EQ(decode_reference(DType::f8_e8m0, 120), std::ldexp(1.0F, -7));
    EXPECT_TRUE(std::isnan(decode_reference(DType::f8_e8m0, 255)));
    EXPECT_EQ(decode_reference(DType::f6_e2m3, 0x1F), 7.5F);
    EXPECT_EQ(decode_reference(DType::f6_e3m2, 0x1F), 28.0F);
    EXPECT_TRUE(std::signbit(decode_reference(DType::f16, 0x8000)));
    std::vector<float> e2m1;
    for (std::uint64_t code = 0; code < 16; ++code) { e2m1.push_back(decode_reference(DType::f4, code)); }
    EXPECT_THAT(e2m1, ::testing::ElementsAre(0.F, .5F, 1.F, 1.5F, 2.F, 3.F, 4.F, 6.F, 0.F, -.5F, -1.F, -1.5F, -2.F,
                                             -3.F, -4.F, -6.F));
}

TEST(CastReference, WholeTypesRoundTripThroughF32) {
    for (auto const dtype : {DType::f16, DType::bf16, DType::f8_e5m2, DType::f8_e4m3, DType::f8_e8m0}) {
        for (std::uint64_t code = 0; code < std::uint64_t{1} << bits(dtype); ++code) {
            auto const value = decode_reference(dtype, code);
            if (std::isnan(value)) { continue; }
            ASSERT_EQ(encode_reference(value, dtype), code) << code_name(dtype, code);
        }
    }
}

TEST(CastReference, TakesPackedElementsFromTheLowestBitsOn) {
    Bytes values(2 * sizeof(float));
    cast_reference(DType::f4, Bytes{std::byte{0xF1}}, DType::f32, values);
    EXPECT_EQ(values, bytes_of<float>({0.5F, -6.0F}));
    Bytes four(4 * sizeof(float));
    // Codes 1, 0x1F, 0x20, 0x3F: bits 000001 011111 100000 111111 from the lowest on.
    cast_reference(DType::f6_e2m3, Bytes{std::byte{0xC1}, std::byte{0x07}, std::byte{0xFE}}, DType::f32, four);
    EXPECT_EQ(four, bytes_of<float>({0.125F, 7.5F, -0.0F, -7.5F}));
}

TEST(CastReference, RoundsDoublesToF32First) {
    auto const above_half = 1.0 + std::ldexp(1.0, -11) + std::ldexp(1.0, -40);
    Bytes half(2);
    cast_reference(DType::f64, bytes_of<double>({above_half}), DType::f16, half);
    EXPECT_EQ(half, (bytes_of<std::uint16_t>({0x3C00}))) << "in one step it would be 0x3C01";
}

TEST(Cast, EqualsTheReferenceForEveryPairOfTypes) {
    for (auto const from : kSources) {
        auto const source = elements_to_try(from);
        auto const count = elements_in(from, source.size());
        for (auto const to : kTargets) {
            auto const element_bytes = static_cast<std::size_t>(bits(to)) / 8;
            Bytes expected(count * element_bytes + 1);
            Bytes converted(count * element_bytes + 1);
            cast_reference(from, source, to, expected);
            cast(from, source, to, converted);
            auto const at = static_cast<std::size_t>(
                std::mismatch(expected.begin(), expected.end(), converted.begin()).first - expected.begin());
            ASSERT_EQ(at, expected.size()) << to_string(from) << " to " << to_string(to) << ", element "
                                           << at / element_bytes;
        }
    }
}

TEST(Cast, NeedsNoAlignment) {
    auto const source = elements_to_try(DType::f16);
    Bytes shifted(source.size() + 1);
    std::memcpy(shifted.data() + 1, source.data(), source.size());
    Bytes expected(source.size());
    Bytes converted(source.size() + 1);
    cast_reference(DType::f16, source, DType::bf16, expected);
    cast(DType::f16, std::span<std::byte const>(shifted).subspan(1), DType::bf16, std::span(converted).subspan(1));
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), converted.begin() + 1));
}

TEST(Cast, RefusesWhatIsNoFloatingPointNumber) {
    EXPECT_FALSE(can_cast(DType::i32, DType::f32));
    EXPECT_FALSE(can_cast(DType::f32, DType::f4));
    EXPECT_FALSE(can_cast(DType::c64, DType::f32));
    Bytes bytes(4);
    EXPECT_THAT(error_of([&] { cast(DType::i32, bytes, DType::f32, bytes); }),
                IsError(Errc::input, "I32 cannot be cast to F32"));
}

}  // namespace
}  // namespace shardwise::test
