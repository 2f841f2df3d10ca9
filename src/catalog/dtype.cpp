#include <shardwise/dtype.hpp>

#include <array>
#include <numeric>

namespace shardwise {
namespace {

struct DTypeFacts {
    std::string_view name;
    int bits;
};

/// In the order of the enumerators.
constexpr std::array<DTypeFacts, kDTypeCount> kFacts = {{
    {"BOOL", 8},         {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8},
    {"F8_E4M3", 8},      {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16},
    {"BF16", 16},        {"I32", 32}, {"U32", 32},    {"F32", 32},    {"C64", 64}, {"F64", 64}, {"I64", 64},
    {"U64", 64},
}};

}  // namespace

int bits(DType dtype) noexcept { return kFacts[static_cast<std::size_t>(dtype)].bits; }

std::uint64_t unit_bytes(DType dtype) noexcept {
    auto const element_bits = static_cast<std::uint64_t>(bits(dtype));
    return std::lcm(element_bits, std::uint64_t{8}) / 8;
}

std::string_view to_string(DType dtype) noexcept { return kFacts[static_cast<std::size_t>(dtype)].name; }

std::optional<DType> parse_dtype(std::string_view name) noexcept {
    for (std::size_t i = 0; i < kFacts.size(); ++i) {
        if (kFacts[i].name == name) { return static_cast<DType>(i); }
    }
    return std::nullopt;
}

}  // namespace shardwise
