// The rules of the format, one broken at a time. What is right and wrong was compared with the reference implementation
// (safetensors 0.8); the two places where shardwise differs on purpose say so.
#include "catalog/safetensors.hpp"

#include <gmock/gmock.h>

#include "support/error_of.hpp"
#include "support/safetensors_bytes.hpp"

namespace shardwise::test {
namespace {

using testing::ElementsAre;

std::vector<TensorRecord> parse(std::string const& json, std::uint64_t data_bytes) {
    return parse_safetensors_header(json, kLengthBytes + json.size() + data_bytes).tensors;
}

std::vector<TensorRecord> parse(std::string const& json) { return parse(json, 4); }

/// A header with one tensor "w" of four bytes at most.
std::string one(std::string const& dtype, std::string const& shape, std::string const& offsets) {
    return R"({"w":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

TEST(SafetensorsHeader, TensorsComeInTheOrderOfTheirDataWithAbsoluteOffsets) {
    std::string const json =
        R"({"b":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},)"
        R"("a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}})";
    EXPECT_THAT(parse(json, 32), ElementsAre(TensorRecord{"a", DType::bf16, {4}, 0, 8 + json.size(), 8},
                                             TensorRecord{"b", DType::f32, {2, 3}, 0, 16 + json.size(), 24}));
}

TEST(SafetensorsHeader, WhatTheFormatAllowsIsAccepted) {
    struct Case {
        char const* what;
        std::string json;
        std::uint64_t data_bytes;
        std::size_t tensors;
    };
    std::string const w = R"("w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
    for (auto const& test_case : std::initializer_list<Case>{
             {"no tensor", "{}", 0, 0},
             {"padding with spaces", "{" + w + "}       ", 4, 1},
             {"white space inside", "{\n\t" + w + "\r\n}", 4, 1},
             {"scalar", one(R"("F32")", "[]", "[0,4]"), 4, 1},
             {"empty tensor before data", "{" + w + R"(,"e":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", 4, 2},
             {"empty tensor after data", "{" + w + R"(,"e":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]}})", 4, 2},
             {"only an empty tensor", one(R"("F32")", "[0]", "[0,0]"), 0, 1},
             {"fields that are not known", R"({"w":{"x":{"dtype":1},"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
              4, 1},
             {"texts as metadata", R"({"__metadata__":{"format":"pt","a":"b"},)" + w + "}", 4, 1},
             {"null as metadata", R"({"__metadata__":null,)" + w + "}", 4, 1},
             // The reference refuses this one. Metadata is free text that says nothing about tensors.
             {"numbers as metadata", R"({"__metadata__":{"step":1},)" + w + "}", 4, 1},
             {"eight dimensions", one(R"("U8")", "[1,2,1,2,1,1,1,1]", "[0,4]"), 4, 1},
             {"an empty name", R"({"":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4, 1},
         }) {
        EXPECT_EQ(parse(test_case.json, test_case.data_bytes).size(), test_case.tensors) << test_case.what;
    }
}

TEST(SafetensorsHeader, TextsOfTheWriterAreKept) {
    std::string const w = R"("w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
    auto const metadata_of = [&](std::string const& metadata) {
        auto const json = R"({"__metadata__":)" + metadata + "," + w + "}";
        return parse_safetensors_header(json, kLengthBytes + json.size() + 4).metadata;
    };
    EXPECT_THAT(metadata_of(R"({"format":"pt","a":"\u00e9"})"),
                ElementsAre(std::pair("a", "\xC3\xA9"), std::pair("format", "pt")));
    EXPECT_THAT(metadata_of(R"({"step":1,"b":""})"), ElementsAre(std::pair("b", "")));
    EXPECT_THAT(metadata_of("null"), ElementsAre());
}

TEST(SafetensorsHeader, NamesAreUnescaped) {
    auto const tensors = parse(R"({"a\"\u00e9\n.w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})");
    EXPECT_EQ(tensors.at(0).name, "a\"\xC3\xA9\n.w");
}

TEST(SafetensorsHeader, PackedElementsFillWholeBytesOverTheTensor) {
    struct Case {
        char const* dtype;
        char const* shape;
        int bytes;
    };
    for (auto const& [dtype, shape, bytes] : std::initializer_list<Case>{{R"("F4")", "[8]", 4},
                                                                         {R"("F4")", "[2,3]", 3},
                                                                         {R"("F6_E2M3")", "[4]", 3},
                                                                         {R"("F6_E3M2")", "[2,2,2]", 6}}) {
        EXPECT_EQ(parse(one(dtype, shape, "[0," + std::to_string(bytes) + "]"), bytes).at(0).size_bytes, bytes);
    }
    for (auto const& [dtype, shape, bytes] :
         std::initializer_list<Case>{{R"("F4")", "[3]", 2}, {R"("F6_E2M3")", "[3]", 3}, {R"("F6_E3M2")", "[2,3]", 5}}) {
        EXPECT_THAT(error_of([&] { parse(one(dtype, shape, "[0," + std::to_string(bytes) + "]"), bytes); }),
                    IsError(Errc::input, "w: ")) << dtype << shape;
        EXPECT_THAT(error_of([&] { parse(one(dtype, shape, "[0,1]"), 1); }),
                    IsError(Errc::input, "ends inside a byte"));
    }
}

struct BadHeader {
    std::string json;
    char const* message;
    std::uint64_t data_bytes = 4;
};

void expect_refused(std::initializer_list<BadHeader> cases) {
    for (auto const& bad : cases) {
        EXPECT_THAT(error_of([&] { parse(bad.json, bad.data_bytes); }), IsError(Errc::input, bad.message))
            << bad.json.substr(0, 200);
    }
}

TEST(SafetensorsHeader, MalformedJsonIsRefused) {
    expect_refused({
        {"{", "header: "},
        {"{} x", "header: "},
        {std::string("{}\0", 3), "header: "},
        {"[]", "header: "},
        {"null", "header: "},
        {R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},})", "header: "},
        {"{\"w\xFF\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", "header: "},
        {"{\"w\n\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", "header: "},
        {R"({"\ud800":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "header: "},
        {R"({"w":)" + std::string(100000, '[') + std::string(100000, ']') + "}", "header: "},
    });
}

TEST(SafetensorsHeader, EntriesWithWrongFieldsAreRefusedByName) {
    expect_refused({
        {R"({"w":3})", "w: not an object"},
        {R"({"w":{"shape":[4],"data_offsets":[0,4]}})", "w: 'dtype'"},
        {R"({"w":{"dtype":"U8","data_offsets":[0,4]}})", "w: 'shape'"},
        {R"({"w":{"dtype":"U8","shape":[4]}})", "w: 'data_offsets'"},
        {R"({"w":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}})", "w: 'dtype' is given twice"},
        {R"({"w":{"dtype":"U8","shape":[4],"shape":[2,2],"data_offsets":[0,4]}})", "w: 'shape' is given twice"},
        {R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,4]}})",
         "w: 'data_offsets' is given twice"},
        {one("4", "[4]", "[0,4]"), "w: 'dtype'"},
        {one(R"("F128")", "[4]", "[0,4]"), "w: unknown dtype 'F128'"},
        {one(R"("u8")", "[4]", "[0,4]"), "w: unknown dtype 'u8'"},
        {one(R"("U8")", "4", "[0,4]"), "w: 'shape'"},
        {one(R"("U8")", "[-4]", "[0,4]"), "w: 'shape'"},
        {one(R"("U8")", "[4.0]", "[0,4]"), "w: 'shape'"},
        {one(R"("U8")", R"(["4"])", "[0,4]"), "w: 'shape'"},
        {one(R"("U8")", "[null]", "[0,4]"), "w: 'shape'"},
        {one(R"("U8")", "[9223372036854775808]", "[0,4]"), "w: 'shape'"},
        {one(R"("U8")", "[1,1,1,1,1,1,1,1,4]", "[0,4]"), "w: 9 dimensions, at most 8"},
        {one(R"("U8")", "[4]", "[0]"), "w: 'data_offsets'"},
        {one(R"("U8")", "[4]", "[0,4,8]"), "w: 'data_offsets'"},
        {one(R"("U8")", "[4]", "[4,0]"), "w: 'data_offsets'"},
        {one(R"("U8")", "[4]", "[-4,0]"), "w: 'data_offsets'"},
        {one(R"("U8")", "[4]", "[0.0,4.0]"), "w: 'data_offsets'"},
        {one(R"("U8")", "[4]", "[0,18446744073709551616]"), "header: "},
    });
}

TEST(SafetensorsHeader, SizesThatDisagreeOrOverflowAreRefused) {
    expect_refused({
        {one(R"("F32")", "[2]", "[0,4]"), "w: data_offsets [0, 4] hold 4 B, but F32 [2] needs 8 B"},
        {one(R"("U8")", "[0]", "[0,4]"), "needs 0 B"},
        {one(R"("U8")", "[]", "[0,4]"), "needs 1 B"},
        {one(R"("U8")", "[4]", "[0,0]"), "needs 4 B"},
        // 2^32 x 2^32 wraps to 0 in 64 bits, 2^62 x 4 + 4 to 4.
        {one(R"("U8")", "[4294967296,4294967296]", "[0,0]"), "w: shape [4294967296, 4294967296] overflows"},
        {one(R"("U8")", "[4611686018427387905,4]", "[0,4]"), "overflows"},
        {one(R"("F64")", "[2305843009213693952]", "[0,0]"), "overflows"},
        {one(R"("U8")", "[9223372036854775807]", "[0,9223372036854775807]"), "overflows"},
        {one(R"("U8")", "[4611686018427387904,4,0]", "[0,0]"), "overflows"},
        // The reference accepts this one: its product meets the 0 first.
        {one(R"("U8")", "[0,4611686018427387904,4]", "[0,0]"), "overflows"},
        {one(R"("U8")", "[4]", "[18446744073709551608,18446744073709551612]"), "overflow"},
    });
}

TEST(SafetensorsHeader, DataMustTileTheFile) {
    auto const two = [](std::string const& first, std::string const& second) {
        return R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)" + first +
               R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + second + "}}";
    };
    expect_refused({
        {two("[0,2]", "[1,3]"), "b: data begins at byte 114 of the file, expected 115: ranges overlap"},
        {two("[0,2]", "[0,2]"), "overlap"},
        {two("[0,2]", "[3,5]"), "leave a hole", 5},
        {two("[1,3]", "[3,5]"), "a: data begins", 5},
        {two("[0,2]", "[2,4]"), "b: bytes [115, 115+2) leave the file of 116 B: is it truncated?", 3},
        {two("[0,2]", "[2,4]"), "a: bytes [113, 113+2) leave the file", 0},
        {two("[0,2]", "[2,4]"), "tensors end at byte 117, but the file has 118 B", 5},
        {"{}", "tensors end at byte 10, but the file has 13 B", 3},
        {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
         "e: data begins"},
        // Metadata that poses as a tensor does not cover its bytes.
        {R"({"__metadata__":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "tensors end at byte"},
    });
}

TEST(SafetensorsHeader, ANameGivenTwiceIsRefusedHoweverItIsSpelt) {
    expect_refused({
        {R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"w":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
         "the name w is given twice"},
        {R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
         R"("\u0077":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
         "the name w is given twice"},
    });
}

std::uint64_t header_bytes(std::string const& start, std::uint64_t file_bytes) {
    return safetensors_header_bytes(std::as_bytes(std::span(start)), file_bytes);
}

TEST(SafetensorsLength, IsReadLittleEndianUpToTheBoundOfTheFormat) {
    EXPECT_EQ(header_bytes(length_field(2) + "{}", 10), 2U);
    EXPECT_EQ(header_bytes(length_field(0x010203) + "{", 1 << 20), 0x010203U);
    EXPECT_EQ(header_bytes(length_field(100'000'000) + "{", 100'000'008), 100'000'000U);
}

TEST(SafetensorsLength, WhatCannotBeAHeaderIsRefused) {
    struct Case {
        std::string start;
        std::uint64_t file_bytes;
        char const* message;
    };
    for (auto const& test_case : std::initializer_list<Case>{
             {"", 0, "0 B are too few"},
             {length_field(2), 8, "8 B are too few"},
             {length_field(3) + "{}", 10, "a header of 3 B does not fit the file of 10 B: is it truncated?"},
             {length_field(100'000'001) + "{", 200'000'000, "above the format's limit of 100000000"},
             {length_field(~0ULL) + "{", 1 << 20, "header length 18446744073709551615 is above"},
             {length_field(0) + "{", 9, "no JSON object follows"},
             {length_field(1) + "{", 9, "no JSON object follows"},
             {length_field(2) + "[]", 10, "no JSON object follows"},
             {length_field(3) + " {}", 11, "no JSON object follows"},
         }) {
        EXPECT_THAT(error_of([&] { header_bytes(test_case.start, test_case.file_bytes); }),
                    IsError(Errc::input, test_case.message));
    }
}

}  // namespace
}  // namespace shardwise::test
