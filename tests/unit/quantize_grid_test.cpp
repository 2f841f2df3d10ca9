// Quantizing, over an emulated accelerator and a real one where there is one: codes and scales of the reference.
#include "convert/quantize_grid.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <span>

#include <shardwise/error.hpp>

#include "convert/block_scale.hpp"
#include "convert/cast.hpp"
#include "support/cast_elements.hpp"
#include "support/error_of.hpp"
#include "support/on_accelerator.hpp"

namespace shardwise::test {
namespace {

constexpr std::byte kGuard{0xEE};

struct Quantized {
    Bytes codes;
    Bytes scales;
    bool operator==(Quantized const&) const = default;
};

class QuantizeGridOn : public OnAccelerator {
   protected:
    Quantized quantized(QuantizeShape const& shape, DType from, Bytes const& values, ScaleFormat format,
                        std::size_t shift) {
        auto const result = room(shape, format);
        auto const codes = upload(result.codes, shift);
        auto const scales = upload(result.scales, shift);
        run_quantize_fp8(stream(), {shape, from, upload(values, shift).data(), format, codes.data(), scales.data()});
        return {download(codes), download(scales)};
    }

    /// Memory for codes and scales, and some more that must stay.
    static Quantized room(QuantizeShape const& shape, ScaleFormat format) {
        auto const scale_bytes = format == ScaleFormat::f32 ? 4 : 1;
        return {Bytes(shape.rows * shape.columns + 16, kGuard), Bytes(shape.blocks() * scale_bytes + 16, kGuard)};
    }

    static Quantized expected(QuantizeShape const& shape, DType from, Bytes const& values, ScaleFormat format) {
        std::vector<float> numbers(shape.rows * shape.columns);
        decode(from, values, numbers);
        auto result = room(shape, format);
        quantize_fp8_reference(shape, numbers, format, result.codes, result.scales);
        return result;
    }
};

QuantizeShape random_shape(std::mt19937& random) {
    QuantizeShape shape;
    shape.block_rows = 1 + random() % 40;
    shape.block_columns = random() % 2 == 0 ? 1 + random() % 70 : 4 * (1 + random() % 40);
    shape.rows = shape.block_rows * (1 + random() % 3);
    shape.columns = shape.block_columns * (1 + random() % 3);
    return shape;
}

TEST_P(QuantizeGridOn, EqualsTheReferenceForAnyTypeShapeAndFormat) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    static constexpr DType kFrom[] = {DType::f32, DType::bf16, DType::f16, DType::f64, DType::f8_e5m2};
    for (int i = 0; i < 250; ++i) {
        auto const shape = random_shape(random);
        auto const from = kFrom[random() % std::size(kFrom)];
        std::vector<float> numbers(shape.rows * shape.columns);
        for (auto& number : numbers) { number = normal(random) * std::ldexp(1.0F, i % 60 - 30); }
        Bytes values(numbers.size() * static_cast<std::size_t>(bits(from)) / 8);
        encode(numbers, from, values);
        auto const format = random() % 2 == 0 ? ScaleFormat::f32 : ScaleFormat::e8m0;
        auto const shift = random() % 3 == 0 ? random() % 16 : 0;
        ASSERT_EQ(quantized(shape, from, values, format, shift), expected(shape, from, values, format)) << "case " << i;
        forget();
    }
}

TEST_P(QuantizeGridOn, EqualsTheReferenceAtTheEndsOfTheRange) {
    auto const values = elements_to_try(DType::f32);
    for (auto const format : {ScaleFormat::f32, ScaleFormat::e8m0}) {
        for (std::uint64_t const columns : {1, 2, 8}) {
            QuantizeShape const shape = {values.size() / 4 / columns, columns, 1, columns};
            auto const used =
                Bytes(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(shape.rows * columns * 4));
            ASSERT_EQ(quantized(shape, DType::f32, used, format, 0), expected(shape, DType::f32, used, format));
        }
    }
}

/// A block of eight numbers, and what another implementation makes of it.
struct QuantizedBlock {
    std::array<std::uint32_t, 8> values;  ///< bits of F32
    std::array<std::uint8_t, 8> f32_codes;
    std::uint32_t f32_scale;  ///< bits
    std::array<std::uint8_t, 8> e8m0_codes;
    std::uint8_t e8m0_scale;
};
constexpr QuantizedBlock kQuantizedBlocks[] = {
#include "support/quantize_values.inc"
};
constexpr QuantizeShape kQuantizedShape = {std::size(kQuantizedBlocks), 8, 1, 8};

template <class Value>
void append(Bytes& bytes, Value const& value) {
    auto const more = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), more.begin(), more.end());
}

Bytes values_of_blocks() {
    Bytes values;
    for (auto const& block : kQuantizedBlocks) { append(values, block.values); }
    return values;
}

Quantized codes_of_blocks(ScaleFormat format) {
    Quantized result;
    for (auto const& block : kQuantizedBlocks) {
        append(result.codes, format == ScaleFormat::f32 ? block.f32_codes : block.e8m0_codes);
        format == ScaleFormat::f32 ? append(result.scales, block.f32_scale) : append(result.scales, block.e8m0_scale);
    }
    return result;
}

TEST_P(QuantizeGridOn, NansInfinitiesZerosAndTinyNumbersBecomeWhatNumpyAndMlDtypesMakeOfThem) {
    for (auto const format : {ScaleFormat::f32, ScaleFormat::e8m0}) {
        auto right = codes_of_blocks(format);
        right.codes.resize(right.codes.size() + 16, kGuard);
        right.scales.resize(right.scales.size() + 16, kGuard);
        EXPECT_EQ(quantized(kQuantizedShape, DType::f32, values_of_blocks(), format, 0), right);
    }
}

TEST_P(QuantizeGridOn, NothingIsNothing) {
    run_quantize_fp8(stream(), {{0, 128, 128, 128}, DType::f32, nullptr, ScaleFormat::f32, nullptr, nullptr});
    EXPECT_THAT(error_of([&] {
                    run_quantize_fp8(stream(), {{1, 1, 1, 1}, DType::i32});
                }),
                IsError(Errc::input, "I32 cannot be cast"));
    finish(stream());
}

INSTANTIATE_TEST_SUITE_P(Any, QuantizeGridOn, accelerators(), accelerator_name);

TEST(QuantizeReference, NansInfinitiesZerosAndTinyNumbersBecomeWhatNumpyAndMlDtypesMakeOfThem) {
    auto const bytes = values_of_blocks();
    std::vector<float> values(bytes.size() / 4);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    for (auto* const quantize : {&quantize_fp8, &quantize_fp8_reference}) {
        for (auto const format : {ScaleFormat::f32, ScaleFormat::e8m0}) {
            auto const right = codes_of_blocks(format);
            Quantized result = {Bytes(right.codes.size()), Bytes(right.scales.size())};
            quantize(kQuantizedShape, values, format, result.codes, result.scales);
            EXPECT_EQ(result, right);
        }
    }
}

}  // namespace
}  // namespace shardwise::test
