#include "sink/safetensors_writer.hpp"

#include <gmock/gmock.h>

#include "catalog/safetensors.hpp"
#include "support/safetensors_bytes.hpp"

namespace shardwise::test {
namespace {

using testing::ElementsAre;

TEST(SafetensorsWriter, TheHeaderIsTheOneOfTheFormat) {
    std::vector<TensorEntry> const tensors = {{"b", DType::f32, {2, 3}, 24}, {"a", DType::bf16, {}, 2}};
    std::string json =
        R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
        R"("a":{"dtype":"BF16","shape":[],"data_offsets":[24,26]}})";
    ASSERT_EQ(json.size(), 143U);
    EXPECT_EQ(safetensors_header(tensors, {{"format", "pt"}}, 8), length_field(144) + json + " ");
    EXPECT_EQ(safetensors_header({}, {}, 8), length_field(8) + "{}      ");
}

TEST(SafetensorsWriter, DataBeginsAtTheAlignment) {
    std::vector<TensorEntry> const tensors = {{"w", DType::u8, {1}, 1}};
    for (std::uint64_t const alignment : {1U, 8U, 512U, 4096U}) {
        EXPECT_EQ(safetensors_header(tensors, {}, alignment).size() % alignment, 0U);
    }
}

TEST(SafetensorsWriter, TheParserReadsBackWhatWasWritten) {
    std::vector<TensorEntry> const tensors = {{"layer.\"0\"\\\n\xC3\xBC", DType::f64, {3}, 24},
                                              {"empty", DType::f32, {0, 7}, 0},
                                              {"packed", DType::f4, {2, 5}, 5},
                                              {"scalar", DType::boolean, {}, 1},
                                              {"", DType::c64, {1, 1, 1, 1, 1, 1, 1, 1}, 8}};
    auto const header = safetensors_header(tensors, {{"note", "a \"quoted\" one"}}, 4096);
    auto const parsed = parse_safetensors_header(header.substr(kLengthBytes), header.size() + 38);
    std::vector<TensorRecord> expected;
    std::uint64_t begin = header.size();
    for (auto const& tensor : tensors) {
        expected.push_back({std::string(tensor.name), tensor.dtype, tensor.shape, 0, begin, tensor.size_bytes});
        begin += tensor.size_bytes;
    }
    EXPECT_EQ(parsed.tensors, expected);
    EXPECT_THAT(parsed.metadata, ElementsAre(std::pair("note", "a \"quoted\" one")));
}

TEST(SafetensorsWriter, WiderElementsComeFirstThenNames) {
    std::vector<TensorEntry> const tensors = {{"b", DType::u8, {}, 1},  {"z", DType::f64, {}, 8},
                                              {"a", DType::i8, {}, 1},  {"c", DType::bf16, {}, 2},
                                              {"f", DType::f4, {2}, 1}, {"a2", DType::f16, {}, 2}};
    std::vector<std::string_view> names;
    for (auto const index : safetensors_order(tensors)) { names.push_back(tensors[index].name); }
    EXPECT_THAT(names, ElementsAre("z", "a2", "c", "a", "b", "f"));
}

}  // namespace
}  // namespace shardwise::test
