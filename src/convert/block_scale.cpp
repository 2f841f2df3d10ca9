#include "convert/block_scale.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "convert/cast.hpp"
#include "convert/element.hpp"
#include "convert/simd.hpp"

namespace shardwise {
namespace {

constexpr std::size_t kStretch = 1024;  ///< elements at a time

DType scale_type(DType dtype) { return dtype == DType::u8 ? DType::f8_e8m0 : dtype; }

/// Scales [first, first + values.size()).
void decode_scales(BlockScales const& scales, std::uint64_t first, std::span<float> values) {
    auto const element_bytes = static_cast<std::size_t>(bits(scales.dtype)) / 8;
    decode(scale_type(scales.dtype),
           scales.bytes.subspan((first - scales.first) * element_bytes, values.size() * element_bytes), values);
}

void multiply(float* values, std::size_t count, float scale) {
    vectorised([=]() SHARDWISE_INLINE {
        for (std::size_t i = 0; i < count; ++i) { values[i] = scaled(values[i], scale); }
    });
}

/// Multiplies elements that stand in one row from @p first on.
void scale_row(BlockGrid const& grid, BlockScales const& scales, std::uint64_t first, std::span<float> values) {
    std::array<float, kStretch> factors;
    auto const first_scale = grid.scale_of(first);
    auto const count = grid.scale_of(first + values.size() - 1) - first_scale + 1;
    decode_scales(scales, first_scale, std::span(factors).first(count));
    auto const column = first % grid.columns;
    std::size_t at = 0;
    for (std::uint64_t block = 0; block < count; ++block) {
        auto const end = (column / grid.block_columns + block + 1) * grid.block_columns - column;
        auto const next = std::min<std::size_t>(end, values.size());
        multiply(values.data() + at, next - at, factors[block]);
        at = next;
    }
}

/// block_factor() with the arithmetic of the definition.
BlockFactor block_factor_reference(float greatest, ScaleFormat format) {
    BlockFactor factor;
    factor.scale = greatest > 0 ? kGreatestCode / greatest : 1.0F;
    factor.inverse = 1.0F / factor.scale;
    if (format == ScaleFormat::f32) { return factor; }
    int exponent = 127;
    if (std::isfinite(factor.inverse)) {
        auto const fraction = std::frexp(factor.inverse, &exponent);  // in [0.5, 1), or 0
        exponent -= fraction == 0.5F ? 1 : 0;
        exponent = fraction == 0 ? -127 : std::clamp(exponent, -127, 127);
    }
    return {std::ldexp(1.0F, -exponent), std::ldexp(1.0F, exponent)};
}

void store_scale(float inverse, ScaleFormat format, std::uint64_t block, std::span<std::byte> scales) {
    auto const bytes = format == ScaleFormat::f32 ? sizeof(float) : 1;
    encode({&inverse, 1}, format == ScaleFormat::f32 ? DType::f32 : DType::f8_e8m0,
           scales.subspan(block * bytes, bytes));
}

/// Calls @p visit(block, index of its first element) for each block.
template <class Visit>
void for_each_block(QuantizeShape const& shape, Visit visit) {
    std::uint64_t block = 0;
    for (std::uint64_t row = 0; row < shape.rows; row += shape.block_rows) {
        for (std::uint64_t column = 0; column < shape.columns; column += shape.block_columns) {
            visit(block++, row * shape.columns + column);
        }
    }
}

float greatest_of(float const* values, std::size_t count) {
    std::uint32_t greatest = 0;
    vectorised([&]() SHARDWISE_INLINE {
        std::uint32_t found = 0;
        for (std::size_t i = 0; i < count; ++i) {
            auto const number = magnitude_bits(values[i]);
            found = select(less(found, number), number, found);
        }
        greatest = found;
    });
    return std::bit_cast<float>(greatest);
}

void scale_and_clamp(float const* values, float* target, std::size_t count, float scale) {
    vectorised([=]() SHARDWISE_INLINE {
        for (std::size_t i = 0; i < count; ++i) { target[i] = scaled_into_range(values[i], scale); }
    });
}

}  // namespace

void dequantize(BlockGrid const& grid, BlockScales const& scales, std::uint64_t first, DType from,
                std::span<std::byte const> source, DType to, std::span<std::byte> target) {
    std::array<float, kStretch> buffer;
    auto const source_step = kStretch * static_cast<std::size_t>(bits(from)) / 8;
    auto const target_bytes = static_cast<std::size_t>(bits(to)) / 8;
    for (std::size_t at = 0; at < source.size(); at += source_step) {
        auto const part = source.subspan(at, std::min(source_step, source.size() - at));
        auto const values = std::span(buffer).first(elements_in(from, part.size()));
        decode(from, part, values);
        for (std::size_t done = 0; done < values.size();) {
            auto const in_row = grid.columns - (first + done) % grid.columns;
            auto const count = std::min<std::size_t>(in_row, values.size() - done);
            scale_row(grid, scales, first + done, values.subspan(done, count));
            done += count;
        }
        encode(values, to, target);
        target = target.subspan(values.size() * target_bytes);
        first += values.size();
    }
}

void dequantize_reference(BlockGrid const& grid, BlockScales const& scales, std::uint64_t first, DType from,
                          std::span<std::byte const> source, DType to, std::span<std::byte> target) {
    auto const count = elements_in(from, source.size());
    auto const scale_bytes = static_cast<std::size_t>(bits(scales.dtype)) / 8;
    auto const target_bytes = static_cast<std::size_t>(bits(to)) / 8;
    std::vector<float> codes(count);
    cast_reference(from, source, DType::f32, std::as_writable_bytes(std::span(codes)));
    for (std::size_t i = 0; i < count; ++i) {
        std::uint64_t scale_code = 0;
        auto const at = grid.scale_of(first + i) - scales.first;
        std::memcpy(&scale_code, scales.bytes.subspan(at * scale_bytes, scale_bytes).data(), scale_bytes);
        auto const product = codes[i] * decode_reference(scale_type(scales.dtype), scale_code);
        auto const converted = encode_reference(std::isnan(product) ? std::bit_cast<float>(kQuietNan) : product, to);
        std::memcpy(target.data() + i * target_bytes, &converted, target_bytes);
    }
}

void quantize_fp8(QuantizeShape const& shape, std::span<float const> values, ScaleFormat format,
                  std::span<std::byte> codes, std::span<std::byte> scales) {
    std::vector<float> scaled(shape.block_columns);
    for_each_block(shape, [&](std::uint64_t block, std::uint64_t begin) {
        float greatest = 0;
        for (std::uint64_t row = 0; row < shape.block_rows; ++row) {
            auto const* const from = values.data() + begin + row * shape.columns;
            greatest = std::max(greatest, greatest_of(from, shape.block_columns));
        }
        auto const factor = block_factor(greatest, format);
        store_scale(factor.inverse, format, block, scales);
        for (std::uint64_t row = 0; row < shape.block_rows; ++row) {
            auto const at = begin + row * shape.columns;
            scale_and_clamp(values.data() + at, scaled.data(), scaled.size(), factor.scale);
            encode(scaled, DType::f8_e4m3, codes.subspan(at, scaled.size()));
        }
    });
}

void quantize_fp8_reference(QuantizeShape const& shape, std::span<float const> values, ScaleFormat format,
                            std::span<std::byte> codes, std::span<std::byte> scales) {
    for_each_block(shape, [&](std::uint64_t block, std::uint64_t begin) {
        auto const at = [&](std::uint64_t i) {
            return begin + i / shape.block_columns * shape.columns + i % shape.block_columns;
        };
        auto const count = shape.block_rows * shape.block_columns;
        float greatest = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            if (!std::isnan(values[at(i)])) { greatest = std::max(greatest, std::abs(values[at(i)])); }
        }
        auto const factor = block_factor_reference(greatest, format);
        store_scale(factor.inverse, format, block, scales);
        for (std::uint64_t i = 0; i < count; ++i) {
            auto const product = values[at(i)] * factor.scale;
            auto const nan = std::copysign(std::numeric_limits<float>::quiet_NaN(), values[at(i)]);
            auto const clamped = std::isnan(product) ? nan : std::clamp(product, -kGreatestCode, kGreatestCode);
            codes[at(i)] = static_cast<std::byte>(encode_reference(clamped, DType::f8_e4m3));
        }
    });
}

}  // namespace shardwise
