// Which tensors go into which file.
#include "sink/checkpoint_layout.hpp"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;

/// "name: tensor@begin ..." for every file.
std::vector<std::string> described(CheckpointLayout const& layout) {
    std::vector<std::string> lines;
    for (auto const& file : layout.files) {
        auto line = file.name + ":";
        for (auto const& tensor : file.tensors) { line += " " + tensor.name + "@" + std::to_string(tensor.begin); }
        lines.push_back(line + " " + std::to_string(file.data_bytes));
    }
    return lines;
}

Catalog source(std::string const& index) {
    Catalog::Parts parts;
    parts.index_name = index;
    parts.files = {{"/x/b.safetensors", 0, 0, {{"format", "pt"}}}, {"/x/a.safetensors", 0, 0, {}}};
    parts.tensors = {{"z", DType::u8, {4}, 0, 100, 4},
                     {"a", DType::u8, {6}, 0, 104, 6},
                     {"e", DType::f32, {0}, 0, 104, 0},
                     {"b", DType::f32, {2}, 1, 50, 8}};
    return Catalog(std::move(parts));  // in order of names: a b e z
}

TEST(LayoutLike, KeepsFilesAndTheOrderOfTheirData) {
    auto const layout = layout_like(source("i.json"), {true, true, true, true});
    EXPECT_THAT(described(layout), ElementsAre("b.safetensors: z@0 e@4 a@4 10", "a.safetensors: b@0 8"));
    EXPECT_EQ(layout.index_name, "i.json");
    EXPECT_EQ(layout.files[0].metadata, (HeaderNotes{{"format", "pt"}}));
    EXPECT_EQ(layout.files[0].tensors[0].item, 3U);
    EXPECT_EQ(layout.tensor_bytes(), 18U);
    EXPECT_EQ(layout.tensor_count(), 4U);
}

TEST(LayoutLike, WhatIsNotThereIsLeftOutAndSoAreFilesWithoutTensors) {
    EXPECT_THAT(described(layout_like(source(""), {true, false, false, false})), ElementsAre("b.safetensors: a@0 6"));
    EXPECT_THAT(described(layout_like(source(""), {false, true, true, false})),
                ElementsAre("b.safetensors: e@0 0", "a.safetensors: b@0 8"));
}

TEST(LayoutLike, SeveralFilesWithoutAnIndexGetTheUsualOne) {
    EXPECT_EQ(layout_like(source(""), {true, true, true, true}).index_name, "model.safetensors.index.json");
    EXPECT_EQ(layout_like(source(""), {true, false, false, false}).index_name, "");
}

std::vector<OutputTensor> of_sizes(std::vector<std::uint64_t> const& sizes) {
    std::vector<OutputTensor> tensors;
    for (auto const size : sizes) {
        auto const number = static_cast<std::uint32_t>(tensors.size());
        tensors.push_back(
            {"t" + std::to_string(number), DType::u8, {static_cast<std::int64_t>(size)}, size, number, 0});
    }
    return tensors;
}

TEST(LayoutSplit, OneFileStandsAlone) {
    auto const layout = layout_split(of_sizes({3, 4}), {{"k", "v"}}, 7);
    EXPECT_THAT(described(layout), ElementsAre("model.safetensors: t0@0 t1@3 7"));
    EXPECT_EQ(layout.index_name, "");
    EXPECT_EQ(layout.files[0].metadata, (HeaderNotes{{"k", "v"}}));
}

TEST(LayoutSplit, AFileIsFullWhenTheNextTensorDoesNotFit) {
    auto const layout = layout_split(of_sizes({3, 4, 1, 9, 0, 2, 5, 6}), {}, 7);
    EXPECT_THAT(
        described(layout),
        ElementsAre("model-00001-of-00005.safetensors: t0@0 t1@3 7", "model-00002-of-00005.safetensors: t2@0 1",
                    "model-00003-of-00005.safetensors: t3@0 9", "model-00004-of-00005.safetensors: t4@0 t5@0 t6@2 7",
                    "model-00005-of-00005.safetensors: t7@0 6"));
    EXPECT_EQ(layout.index_name, "model.safetensors.index.json");
}

TEST(LayoutSplit, WiderElementsComeFirstInAFile) {
    std::vector<OutputTensor> tensors = of_sizes({3});
    tensors.push_back({"wide", DType::f32, {2}, 8, 1, 0});
    auto const layout = layout_split(tensors, {}, 100);
    EXPECT_THAT(described(layout), ElementsAre("model.safetensors: wide@0 t0@8 11"));
}

TEST(Index, NamesTheFileOfEveryTensorAndTheSumOfTheirSizes) {
    auto const index = nlohmann::json::parse(index_json(layout_split(of_sizes({5, 5}), {}, 5)));
    EXPECT_EQ(index["metadata"]["total_size"], 10);
    EXPECT_EQ(index["weight_map"],
              (nlohmann::json{{"t0", "model-00001-of-00002.safetensors"}, {"t1", "model-00002-of-00002.safetensors"}}));
}

TEST(DealOut, LongestFilesFirstToTheRankWithTheLeast) {
    auto const files = [](std::vector<std::uint64_t> const& sizes) {
        std::vector<OutputFile> result(sizes.size());
        for (std::size_t i = 0; i < sizes.size(); ++i) { result[i].data_bytes = sizes[i]; }
        return result;
    };
    EXPECT_THAT(deal_out(files({5, 9, 4, 3}), 2), ElementsAre(1, 0, 1, 0));
    EXPECT_THAT(deal_out(files({7, 7, 7}), 3), ElementsAre(0, 1, 2));
    EXPECT_THAT(deal_out(files({7, 8}), 1), ElementsAre(0, 0));
    EXPECT_THAT(deal_out(files({0, 0, 0}), 2), ElementsAre(0, 1, 0));
    EXPECT_THAT(deal_out({}, 2), ElementsAre());
}

}  // namespace
}  // namespace shardwise::test
