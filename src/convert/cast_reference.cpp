// Casts with the arithmetic of the definition: exact powers of two, one rounding.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "convert/cast.hpp"
#include "convert/float_format.hpp"

namespace shardwise {
namespace {

constexpr std::uint64_t kE8M0Nan = 0xFF;
constexpr int kE8M0Bias = 127;

double number(FloatFormat const& format, std::uint64_t code) {
    auto const magnitude = code & ((std::uint64_t{1} << format.sign_shift()) - 1);
    bool const is_negative = code >> format.sign_shift() != 0;
    double const sign = is_negative ? -1 : 1;
    auto const nan = std::copysign(std::numeric_limits<double>::quiet_NaN(), sign);
    switch (format.specials) {
        case Specials::ieee:
            if (magnitude == format.overflow_code()) { return sign * std::numeric_limits<double>::infinity(); }
            if (magnitude > format.overflow_code()) { return nan; }
            break;
        case Specials::nan_all_ones:
            if (magnitude == format.nan_code()) { return nan; }
            break;
        case Specials::negative_zero:
            if (magnitude == 0 && is_negative) { return std::abs(nan); }
            break;
        case Specials::none: break;
    }
    auto const exponent = static_cast<int>(magnitude >> format.mantissa_bits);
    auto const fraction = magnitude & ((std::uint64_t{1} << format.mantissa_bits) - 1);
    auto const one = std::uint64_t{1} << format.mantissa_bits;
    auto const significand = static_cast<double>(exponent == 0 ? fraction : fraction + one);
    return sign * std::ldexp(significand, std::max(exponent, 1) - format.bias - format.mantissa_bits);
}

std::uint64_t code(FloatFormat const& format, double value) {
    auto const sign = std::uint64_t{std::signbit(value)} << format.sign_shift();
    bool const has_signed_nan = format.specials != Specials::negative_zero;
    if (std::isnan(value)) { return format.nan_code() | (has_signed_nan ? sign : 0); }
    auto const size = std::abs(value);
    auto const overflow = format.overflow_code() | (has_signed_nan ? sign : 0);
    if (std::isinf(size)) { return overflow; }
    if (size == 0) { return has_signed_nan ? sign : 0; }
    auto const exponent = std::max(std::ilogb(size), 1 - format.bias);
    auto const significand = std::nearbyint(std::ldexp(size, format.mantissa_bits - exponent));
    auto const magnitude = (static_cast<std::uint64_t>(exponent + format.bias - 1) << format.mantissa_bits) +
                           static_cast<std::uint64_t>(significand);
    if (magnitude >= format.overflow_code()) { return overflow; }
    return magnitude == 0 && !has_signed_nan ? 0 : magnitude | sign;
}

/// As PyTorch and ml_dtypes round: halfway goes up, below 2^-126 everything above the least power of two does.
std::uint64_t e8m0_code(float value) {
    if (!(value > 0) || std::isinf(value)) { return kE8M0Nan; }
    if (value < std::numeric_limits<float>::min()) { return value > std::ldexp(1.0F, -kE8M0Bias) ? 1 : 0; }
    auto const exponent = std::ilogb(value);
    auto const rounded = exponent + (value >= std::ldexp(1.5F, exponent) ? 1 : 0);
    return static_cast<std::uint64_t>(rounded + kE8M0Bias);
}

std::uint64_t element(std::span<std::byte const> source, std::size_t index, std::size_t element_bits) {
    std::uint64_t result = 0;
    if (element_bits % 8 == 0) {
        auto const bytes = element_bits / 8;
        std::memcpy(&result, source.subspan(index * bytes, bytes).data(), bytes);
        return result;
    }
    for (std::size_t bit = 0; bit < element_bits; ++bit) {
        auto const at = index * element_bits + bit;
        auto const byte = std::to_integer<std::uint64_t>(source[at / 8]);
        result |= (byte >> at % 8 & 1U) << bit;
    }
    return result;
}

}  // namespace

float decode_reference(DType from, std::uint64_t element_code) {
    if (from == DType::f8_e8m0) {
        return element_code == kE8M0Nan ? std::numeric_limits<float>::quiet_NaN()
                                        : std::ldexp(1.0F, static_cast<int>(element_code) - kE8M0Bias);
    }
    return static_cast<float>(number(*float_format(from), element_code));
}

std::uint64_t encode_reference(float value, DType to) {
    return to == DType::f8_e8m0 ? e8m0_code(value) : code(*float_format(to), static_cast<double>(value));
}

void cast_reference(DType from, std::span<std::byte const> source, DType to, std::span<std::byte> target) {
    auto const target_bytes = static_cast<std::size_t>(bits(to)) / 8;
    for (std::size_t i = 0; i < elements_in(from, source.size()); ++i) {
        auto const value = decode_reference(from, element(source, i, static_cast<std::size_t>(bits(from))));
        auto const converted = encode_reference(value, to);
        std::memcpy(target.data() + i * target_bytes, &converted, target_bytes);
    }
}

}  // namespace shardwise
