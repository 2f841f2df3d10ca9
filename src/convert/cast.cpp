// Casts in two halves over F32, each a loop without branches that the compiler vectorises; a stretch of numbers between
// them stays in the nearest cache.
#include "convert/cast.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "convert/element.hpp"
#include "convert/simd.hpp"

namespace shardwise {
namespace {

constexpr std::size_t kStretch = 1024;  ///< numbers between the two halves

/// values[i] = of(source[i]) for elements stored as @p Code.
template <class Code, class Of>
void decode_each(std::byte const* source, float* values, std::size_t count, Of of) {
    vectorised([=]() SHARDWISE_INLINE {
        for (std::size_t i = 0; i < count; ++i) {
            Code code;
            std::memcpy(&code, source + i * sizeof(Code), sizeof(Code));
            values[i] = std::bit_cast<float>(of(code));
        }
    });
}

template <class Code, class Of>
void encode_each(float const* values, std::byte* target, std::size_t count, Of of) {
    vectorised([=]() SHARDWISE_INLINE {
        for (std::size_t i = 0; i < count; ++i) {
            auto const code = static_cast<Code>(of(std::bit_cast<std::uint32_t>(values[i])));
            std::memcpy(target + i * sizeof(Code), &code, sizeof(Code));
        }
    });
}

template <FloatFormat format, class Code>
void decode_as(std::byte const* source, float* values, std::size_t count) {
    decode_each<Code>(source, values, count, [](Code code) SHARDWISE_INLINE { return widen<format>(code); });
}

template <FloatFormat format, class Code>
void encode_as(float const* values, std::byte* target, std::size_t count) {
    encode_each<Code>(values, target, count, [](std::uint32_t bits) SHARDWISE_INLINE { return narrow<format>(bits); });
}

/// Types below a byte: codes are taken apart into bytes first, the lowest bits first.
template <FloatFormat format>
void decode_packed(std::span<std::byte const> source, float* values) {
    constexpr auto kBits = static_cast<unsigned>(format.sign_shift()) + 1;
    constexpr std::size_t kGroupBytes = kBits == 4 ? 1 : 3;
    constexpr std::size_t kGroup = kGroupBytes * 8 / kBits;
    std::array<std::byte, kStretch> codes;
    for (std::size_t at = 0; at < source.size();) {
        auto const groups = std::min((source.size() - at) / kGroupBytes, kStretch / kGroup);
        vectorised([&]() SHARDWISE_INLINE {
            for (std::size_t i = 0; i < groups; ++i) {
                std::uint32_t group = 0;
                std::memcpy(&group, source.data() + at + i * kGroupBytes, kGroupBytes);
                for (std::size_t k = 0; k < kGroup; ++k) {
                    codes[i * kGroup + k] = static_cast<std::byte>(group >> (k * kBits) & ((1U << kBits) - 1));
                }
            }
        });
        decode_as<format, std::uint8_t>(codes.data(), values, groups * kGroup);
        values += groups * kGroup;
        at += groups * kGroupBytes;
    }
}

[[noreturn]] void refuse(DType from, DType to) {
    throw Error(Errc::input, fmt::format("{} cannot be cast to {}", to_string(from), to_string(to)));
}

}  // namespace

bool can_cast(DType from, DType to) noexcept {
    auto const is_float = [](DType dtype) { return dtype == DType::f8_e8m0 || float_format(dtype).has_value(); };
    return is_float(from) && is_float(to) && bits(to) >= 8;
}

void check_cast(DType from, DType to) {
    if (!can_cast(from, to)) { refuse(from, to); }
}

void decode(DType from, std::span<std::byte const> source, std::span<float> values) {
    auto const count = elements_in(from, source.size());
    switch (from) {
        case DType::f64:
            return decode_each<std::uint64_t>(source.data(), values.data(), count,
                                              [](std::uint64_t bits) SHARDWISE_INLINE { return narrow_f64(bits); });
        case DType::f32: std::memcpy(values.data(), source.data(), source.size()); return;
        case DType::f16: return decode_as<kF16Format, std::uint16_t>(source.data(), values.data(), count);
        case DType::bf16: return decode_as<kBF16Format, std::uint16_t>(source.data(), values.data(), count);
        case DType::f8_e5m2: return decode_as<kE5M2Format, std::uint8_t>(source.data(), values.data(), count);
        case DType::f8_e4m3: return decode_as<kE4M3Format, std::uint8_t>(source.data(), values.data(), count);
        case DType::f8_e5m2fnuz: return decode_as<kE5M2FnuzFormat, std::uint8_t>(source.data(), values.data(), count);
        case DType::f8_e4m3fnuz: return decode_as<kE4M3FnuzFormat, std::uint8_t>(source.data(), values.data(), count);
        case DType::f8_e8m0:
            return decode_each<std::uint8_t>(source.data(), values.data(), count,
                                             [](std::uint8_t code) SHARDWISE_INLINE { return widen_e8m0(code); });
        case DType::f6_e3m2: return decode_packed<kE3M2Format>(source, values.data());
        case DType::f6_e2m3: return decode_packed<kE2M3Format>(source, values.data());
        case DType::f4: return decode_packed<kE2M1Format>(source, values.data());
        default: refuse(from, DType::f32);
    }
}

void encode(std::span<float const> values, DType to, std::span<std::byte> target) {
    auto const count = values.size();
    switch (to) {
        case DType::f64:
            return encode_each<std::uint64_t>(values.data(), target.data(), count,
                                              [](std::uint32_t bits) SHARDWISE_INLINE { return widen_f64(bits); });
        case DType::f32:
            return encode_each<std::uint32_t>(values.data(), target.data(), count,
                                              [](std::uint32_t bits) SHARDWISE_INLINE { return canonical(bits); });
        case DType::f16: return encode_as<kF16Format, std::uint16_t>(values.data(), target.data(), count);
        case DType::bf16: return encode_as<kBF16Format, std::uint16_t>(values.data(), target.data(), count);
        case DType::f8_e5m2: return encode_as<kE5M2Format, std::uint8_t>(values.data(), target.data(), count);
        case DType::f8_e4m3: return encode_as<kE4M3Format, std::uint8_t>(values.data(), target.data(), count);
        case DType::f8_e5m2fnuz: return encode_as<kE5M2FnuzFormat, std::uint8_t>(values.data(), target.data(), count);
        case DType::f8_e4m3fnuz: return encode_as<kE4M3FnuzFormat, std::uint8_t>(values.data(), target.data(), count);
        case DType::f8_e8m0:
            return encode_each<std::uint8_t>(values.data(), target.data(), count,
                                             [](std::uint32_t bits) SHARDWISE_INLINE { return narrow_e8m0(bits); });
        default: refuse(DType::f32, to);
    }
}

void cast(DType from, std::span<std::byte const> source, DType to, std::span<std::byte> target) {
    check_cast(from, to);
    std::array<float, kStretch> values;
    auto const source_step = kStretch * static_cast<std::size_t>(bits(from)) / 8;
    auto const target_bytes = static_cast<std::size_t>(bits(to)) / 8;
    for (std::size_t at = 0; at < source.size(); at += source_step) {
        auto const part = source.subspan(at, std::min(source_step, source.size() - at));
        auto const numbers = std::span(values).first(elements_in(from, part.size()));
        decode(from, part, numbers);
        encode(numbers, to, target);
        target = target.subspan(numbers.size() * target_bytes);
    }
}

}  // namespace shardwise
