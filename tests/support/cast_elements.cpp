#include "support/cast_elements.hpp"

#include <bit>
#include <cmath>
#include <random>

namespace shardwise::test {
namespace {

constexpr CastValue kCastValues[] = {
#include "support/cast_values.inc"
};

}  // namespace

std::span<CastValue const> cast_values() {
    return kCastValues;
}

Bytes elements_to_try(DType dtype) {
    std::mt19937_64 random(7);
    if (bits(dtype) < 8) {
        Bytes bytes(3 * 1500);
        for (auto& byte : bytes) { byte = static_cast<std::byte>(random()); }
        return bytes;
    }
    if (bits(dtype) == 8) {
        std::vector<std::uint8_t> codes;
        for (int code = 0; code < 256; ++code) { codes.push_back(static_cast<std::uint8_t>(code)); }
        return bytes_of(codes);
    }
    if (bits(dtype) == 16) {
        std::vector<std::uint16_t> codes;
        for (int code = 0; code < 65536; ++code) { codes.push_back(static_cast<std::uint16_t>(code)); }
        return bytes_of(codes);
    }
    std::vector<float> floats;
    for (auto const& value : kCastValues) { floats.push_back(std::bit_cast<float>(value.bits)); }
    for (int i = 0; i < 200000; ++i) { floats.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random()))); }
    for (int exponent = -149; exponent < 128; ++exponent) {  // halfway cases of every mantissa length
        for (int mantissa = 1; mantissa < 24; ++mantissa) {
            auto const half = std::ldexp(1.0F, exponent) + std::ldexp(1.0F, exponent - mantissa);
            for (auto const value : {half, std::nextafter(half, 0.0F), std::nextafter(half, 1e38F)}) {
                floats.push_back(value);
                floats.push_back(-value);
            }
        }
    }
    if (dtype == DType::f32) { return bytes_of(floats); }
    std::vector<double> doubles(floats.begin(), floats.end());
    for (int i = 0; i < 50000; ++i) { doubles.push_back(std::bit_cast<double>(random())); }
    for (int i = 0; i < 50000; ++i) { doubles.push_back(std::ldexp(static_cast<double>(random()), i % 320 - 224)); }
    return bytes_of(doubles);
}

}  // namespace shardwise::test
