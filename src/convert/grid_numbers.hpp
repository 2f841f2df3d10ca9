/// @file
/// Groups of elements as F32 and back, with the types known at run time: one branch for all threads of a launch, then
/// code for that type.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "convert/element.hpp"
#include "convert/grid_access.hpp"
#include "convert/grid_block.hpp"

namespace shardwise {

template <DType dtype>
using DTypeConstant = std::integral_constant<DType, dtype>;

/// As bits(), where a constant is needed; of floating-point types.
constexpr std::uint32_t float_bits(DType dtype) noexcept {
    return dtype == DType::f8_e8m0 ? 8 : static_cast<std::uint32_t>(float_format(dtype)->sign_shift()) + 1;
}

/// Whether a thread handles groups of so many elements of a type: whole bytes, and no more than two accesses.
template <DType dtype, std::uint32_t Group>
constexpr bool is_group() noexcept {
    constexpr auto kBits = Group * float_bits(dtype);
    return kBits % 8 == 0 && kBits <= (Group == 4 ? 256 : 128);
}

namespace detail {

template <DType dtype, std::uint32_t Group, class Use>
SHARDWISE_HOST_DEVICE void use_type(Use const& use) {
    if constexpr (is_group<dtype, Group>()) { use(DTypeConstant<dtype>{}); }
}

}  // namespace detail

/// Calls @p use with the constant of a type of at least 8 bits.
template <std::uint32_t Group, class Use>
SHARDWISE_HOST_DEVICE void with_wide_type(DType dtype, Use const& use) {
    switch (dtype) {
        case DType::f64: return detail::use_type<DType::f64, Group>(use);
        case DType::f32: return detail::use_type<DType::f32, Group>(use);
        case DType::f16: return detail::use_type<DType::f16, Group>(use);
        case DType::bf16: return detail::use_type<DType::bf16, Group>(use);
        case DType::f8_e5m2: return detail::use_type<DType::f8_e5m2, Group>(use);
        case DType::f8_e4m3: return detail::use_type<DType::f8_e4m3, Group>(use);
        case DType::f8_e5m2fnuz: return detail::use_type<DType::f8_e5m2fnuz, Group>(use);
        case DType::f8_e4m3fnuz: return detail::use_type<DType::f8_e4m3fnuz, Group>(use);
        case DType::f8_e8m0: return detail::use_type<DType::f8_e8m0, Group>(use);
        default: return;
    }
}

/// The same with those below 8 bits.
template <std::uint32_t Group, class Use>
SHARDWISE_HOST_DEVICE void with_any_type(DType dtype, Use const& use) {
    switch (dtype) {
        case DType::f6_e3m2: return detail::use_type<DType::f6_e3m2, Group>(use);
        case DType::f6_e2m3: return detail::use_type<DType::f6_e2m3, Group>(use);
        case DType::f4: return detail::use_type<DType::f4, Group>(use);
        default: return with_wide_type<Group>(dtype, use);
    }
}

/// One element, its code in @p code, as F32.
template <DType dtype>
SHARDWISE_HOST_DEVICE float number_of(std::uint64_t code) {
    auto const low = static_cast<std::uint32_t>(code);
    if constexpr (dtype == DType::f64) {
        return std::bit_cast<float>(narrow_f64(code));
    } else if constexpr (dtype == DType::f32) {
        return std::bit_cast<float>(low);
    } else if constexpr (dtype == DType::f8_e8m0) {
        return std::bit_cast<float>(widen_e8m0(low));
    } else {
        return std::bit_cast<float>(widen<*float_format(dtype)>(low));
    }
}

/// An F32 as the code of an element.
template <DType dtype>
SHARDWISE_HOST_DEVICE std::uint64_t code_of(float value) {
    auto const bits = std::bit_cast<std::uint32_t>(value);
    if constexpr (dtype == DType::f64) {
        return widen_f64(bits);
    } else if constexpr (dtype == DType::f32) {
        return canonical(bits);
    } else if constexpr (dtype == DType::f8_e8m0) {
        return narrow_e8m0(bits);
    } else {
        return narrow<*float_format(dtype)>(bits);
    }
}

/// Element @p index of packed ones.
template <DType dtype, std::uint32_t Bytes>
SHARDWISE_HOST_DEVICE float number_at(Words<Bytes> const& words, std::uint32_t index) {
    constexpr auto kBits = float_bits(dtype);
    auto const bit = index * kBits;
    std::uint64_t code = words.word[bit / 32] >> bit % 32;
    if (bit % 32 + kBits > 32) { code |= std::uint64_t{words.word[bit / 32 + 1]} << (32 - bit % 32); }
    if constexpr (kBits < 32) { code &= (1U << kBits) - 1; }
    return number_of<dtype>(code);
}

template <DType dtype, std::uint32_t Bytes>
SHARDWISE_HOST_DEVICE void put_number(Words<Bytes>& words, std::uint32_t index, float value) {
    constexpr auto kBits = float_bits(dtype);
    auto const bit = index * kBits;
    auto const code = code_of<dtype>(value);
    words.word[bit / 32] |= static_cast<std::uint32_t>(code) << bit % 32;
    if constexpr (kBits == 64) { words.word[bit / 32 + 1] = static_cast<std::uint32_t>(code >> 32U); }
}

/// Elements of several groups.
template <std::uint32_t Group, std::uint32_t Flight>
struct Numbers {
    float value[Flight][Group];
};

/// Loads groups of @p dtype, with accesses of @p access bytes at most, which divides the addresses.
template <std::uint32_t Group, std::uint32_t Flight>
SHARDWISE_HOST_DEVICE void load_numbers(DType dtype, std::byte const* const (&at)[Flight], std::uint32_t access,
                                        Numbers<Group, Flight>& numbers) {
    with_any_type<Group>(dtype, [&](auto type) {
        constexpr DType kType = decltype(type)::value;
        Words<Group * float_bits(kType) / 8> words[Flight];
        load_words(at, access, words);
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Flight; ++i) {
            SHARDWISE_UNROLL
            for (std::uint32_t k = 0; k < Group; ++k) { numbers.value[i][k] = number_at<kType>(words[i], k); }
        }
    });
}

/// Stores groups of @p dtype side by side; null addresses are left out.
template <Space space = Space::global, std::uint32_t Group, std::uint32_t Flight>
SHARDWISE_HOST_DEVICE void store_numbers(DType dtype, std::byte* const (&at)[Flight], std::uint32_t access,
                                         Numbers<Group, Flight> const& numbers) {
    with_wide_type<Group>(dtype, [&](auto type) {
        constexpr DType kType = decltype(type)::value;
        Words<Group * float_bits(kType) / 8> words[Flight] = {};
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Flight; ++i) {
            SHARDWISE_UNROLL
            for (std::uint32_t k = 0; k < Group; ++k) { put_number<kType>(words[i], k, numbers.value[i][k]); }
        }
        store_words<space>(at, access, words);
    });
}

/// Number of the scale of an element.
SHARDWISE_HOST_DEVICE std::uint64_t scale_number(GridScales const& scales, std::uint32_t element) {
    auto const row = scales.columns.quotient(element);
    auto const column = element - row * scales.columns.divisor;
    auto const block_row = scales.block_rows.quotient(scales.repeat_rows.remainder(scales.first_row + row));
    return block_row * scales.grid_columns + scales.block_columns.quotient(column);
}

/// Multiplies every element by its scale.
/// @param element numbers of each group's first one.
template <std::uint32_t Group, std::uint32_t Flight>
SHARDWISE_HOST_DEVICE void scale_numbers(GridScales const& scales, std::uint32_t const (&element)[Flight],
                                         Numbers<Group, Flight>& numbers) {
    auto const rounds = scales.is_shared ? 1 : Group;
    for (std::uint32_t first = 0; first < rounds; ++first) {
        std::byte const* at[Flight];
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Flight; ++i) {
            auto const number = scale_number(scales, element[i] + first);
            at[i] = scales.table + (number - scales.first_scale) * scales.element_bytes;
        }
        Numbers<1, Flight> factors;
        load_numbers(scales.dtype, at, scales.access, factors);
        SHARDWISE_UNROLL
        for (std::uint32_t i = 0; i < Flight; ++i) {
            SHARDWISE_UNROLL
            for (std::uint32_t k = 0; k < Group; ++k) {
                bool const applies = scales.is_shared || k == first;
                if (applies) { numbers.value[i][k] = scaled(numbers.value[i][k], factors.value[i][0]); }
            }
        }
    }
}

}  // namespace shardwise
