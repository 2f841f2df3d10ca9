#include <shardwise/dtype.hpp>

#include <set>

#include <gmock/gmock.h>

namespace shardwise::test {
namespace {

struct FormatType {
    DType dtype;
    char const* name;
    int bits;
};

/// The element types that the reference implementation of safetensors 0.8 reads, with their sizes.
constexpr FormatType kTypes[] = {
    {DType::boolean, "BOOL", 8},
    {DType::f4, "F4", 4},
    {DType::f6_e2m3, "F6_E2M3", 6},
    {DType::f6_e3m2, "F6_E3M2", 6},
    {DType::u8, "U8", 8},
    {DType::i8, "I8", 8},
    {DType::f8_e5m2, "F8_E5M2", 8},
    {DType::f8_e4m3, "F8_E4M3", 8},
    {DType::f8_e8m0, "F8_E8M0", 8},
    {DType::f8_e4m3fnuz, "F8_E4M3FNUZ", 8},
    {DType::f8_e5m2fnuz, "F8_E5M2FNUZ", 8},
    {DType::i16, "I16", 16},
    {DType::u16, "U16", 16},
    {DType::f16, "F16", 16},
    {DType::bf16, "BF16", 16},
    {DType::i32, "I32", 32},
    {DType::u32, "U32", 32},
    {DType::f32, "F32", 32},
    {DType::c64, "C64", 64},
    {DType::f64, "F64", 64},
    {DType::i64, "I64", 64},
    {DType::u64, "U64", 64},
};

TEST(DType, EveryTypeOfTheFormatHasItsNameAndSize) {
    std::set<DType> seen;
    for (auto const& [dtype, name, size] : kTypes) {
        EXPECT_EQ(parse_dtype(name), dtype) << name;
        EXPECT_EQ(to_string(dtype), name);
        EXPECT_EQ(bits(dtype), size) << name;
        seen.insert(dtype);
    }
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(kDTypeCount)) << "an enumerator that the format does not have";
}

TEST(DType, OtherSpellingsAreUnknown) {
    for (auto const* name : {"", "f32", "F32 ", "float32", "torch.bfloat16", "F128", "F8"}) {
        EXPECT_EQ(parse_dtype(name), std::nullopt) << name;
    }
}

}  // namespace
}  // namespace shardwise::test
