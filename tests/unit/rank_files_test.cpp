#include "sink/rank_files.hpp"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "sink/manifest.hpp"
#include "support/error_of.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

using testing::ElementsAre;

SourceRecord source_of_one_tensor() {
    Catalog::Parts parts;
    parts.config_json = R"({"model_type": "llama"})";
    parts.files = {{"/models/x/model.safetensors", 24, 16, {{"format", "pt"}}}};
    parts.tensors = {{"w", DType::u8, {4, 2}, 0, 16, 8}};
    return {Catalog(std::move(parts)), "{}", {}, "digest"};
}

Plan plan_of(std::int64_t dp, std::int64_t tp) {
    Plan plan;
    plan.mesh = {.dp = dp, .tp = tp, .ep = tp};
    plan.architecture = "llama";
    return plan;
}

TEST(RankFiles, AreNamedAsShardedStatesAre) {
    EXPECT_EQ(rank_file_name(0, RankFormat::safetensors), "model-rank-0-part-0.safetensors");
    EXPECT_EQ(rank_file_name(12, RankFormat::hdf5), "model-rank-12-part-0.h5");
}

TEST(RankFiles, OnlyFilesOfOtherSetsAreRemoved) {
    ScratchFolder const folder;
    std::vector<std::string> const kept = {
        ".model-rank-9-part-0.safetensors.1.2.tmp",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-rank-0-part-0.safetensors",
        "model-rank-1-part-0.safetensors",
        "model-rank-9-part-0.safetensors.bak",
        "model-rank-9.safetensors",
        "model-rank-part-0.safetensors",
        "model-rank-x-part-0.safetensors",
        "my-model-rank-9-part-0.safetensors",
    };
    for (auto const& name : kept) { folder.write(name, ""); }
    for (auto const* name : {"model-rank-2-part-0.safetensors", "model-rank-10-part-0.safetensors",
                             "model-rank-0-part-0.h5", "model-rank-0-part-1.safetensors"}) {
        folder.write(name, "");
    }
    remove_surplus_rank_files(folder.path(), plan_of(1, 2), RankFormat::safetensors);
    EXPECT_EQ(folder.names(), kept);
}

TEST(Manifest, SaysWhatThePlanSays) {
    auto plan = plan_of(2, 2);
    plan.tensors.resize(2);
    plan.tensors[0].name = "w";
    plan.tensors[0].dtype = DType::bf16;
    plan.tensors[0].global_shape = {5, 4};
    plan.tensors[0].placement = {{{Placement::Kind::packed, 0, {{3, 2, 1}, {2, 1, 2}}, MeshAxis::tp}}, {}};
    plan.tensors[0].aliases = {"tied.w"};
    plan.tensors[1].name = "norm";
    plan.tensors[1].dtype = DType::f32;
    ScratchFolder const folder;
    EXPECT_FALSE(has_manifest(folder.path()));
    auto const text = manifest_json(plan, RankFormat::safetensors, source_of_one_tensor());
    folder.write("shardwise.json", text);
    EXPECT_TRUE(has_manifest(folder.path()));

    auto const manifest = read_manifest(folder.path());
    EXPECT_EQ(manifest.mesh, plan.mesh);
    EXPECT_EQ(manifest.format, RankFormat::safetensors);
    EXPECT_THAT(manifest.files, ElementsAre("model-rank-0-part-0.safetensors", "model-rank-1-part-0.safetensors",
                                            "model-rank-2-part-0.safetensors", "model-rank-3-part-0.safetensors"));
    ASSERT_EQ(manifest.tensors.size(), 2U);
    for (auto const& tensor : plan.tensors) {
        auto const& read = manifest.tensors.at(tensor.name);
        EXPECT_EQ(read.dtype, tensor.dtype);
        EXPECT_EQ(read.global_shape, tensor.global_shape);
        EXPECT_EQ(read.placement, tensor.placement);
    }
    EXPECT_EQ(nlohmann::json::parse(text)["tied"]["tied.w"], "w");
    ASSERT_TRUE(manifest.source);
    EXPECT_EQ(manifest.source->parameters_digest, "digest");
    EXPECT_EQ(manifest.source->catalog.files()[0].path, "model.safetensors");
}

TEST(Manifest, TellsMeshesComposedPlacementsAndStages) {
    Plan plan;
    plan.mesh = {.pp = 2, .dp = 1, .fsdp = 4, .tp = 2, .ep = 4};
    plan.tensors.resize(2);
    plan.tensors[0].name = "experts";
    plan.tensors[0].global_shape = {6, 4};
    plan.tensors[0].placement = {
        {{Placement::Kind::expert, 0, {{6, 4, 1}}, MeshAxis::ep}, {Placement::Kind::shard, 0, {}, MeshAxis::efsdp}},
        {0}};
    plan.tensors[1].name = "norm";
    plan.tensors[1].global_shape = {4};
    plan.tensors[1].placement = {{{Placement::Kind::shard, 0, {}, MeshAxis::fsdp}}, {}};
    plan.elsewhere.resize(1);
    plan.elsewhere[0].name = "head";
    plan.elsewhere[0].placement.stages = {1};
    plan.elsewhere[0].aliases = {"tied"};
    ScratchFolder const folder;
    auto const text = manifest_json(plan, RankFormat::safetensors, source_of_one_tensor());
    folder.write("shardwise.json", text);
    auto const manifest = read_manifest(folder.path());
    EXPECT_EQ(manifest.mesh, plan.mesh);
    ASSERT_EQ(manifest.tensors.size(), 3U);
    EXPECT_EQ(manifest.tensors.at("experts").placement, plan.tensors[0].placement);
    EXPECT_EQ(manifest.tensors.at("norm").placement, plan.tensors[1].placement);
    EXPECT_EQ(manifest.tensors.at("head").placement, plan.elsewhere[0].placement);
    auto const json = nlohmann::json::parse(text);
    EXPECT_EQ(json["tensors"]["experts"]["placement"], nlohmann::json::parse(R"({
        "kind": "expert", "dim": 0, "axis": "ep", "blocks": [{"size": 6, "parts": 4, "repeat": 1}],
        "then": [{"kind": "shard", "dim": 0, "axis": "efsdp"}], "stages": [0]})"));
    EXPECT_EQ(json["tied"]["tied"], "head");
}

/// A manifest of one rank with one tensor, for breaking.
std::string manifest(std::string const& changed, std::string const& to) {
    std::string text = R"({"schema":"shardwise.manifest/1","mesh":{"dp":1,"tp":1},"format":"safetensors",)"
                       R"("files":["model-rank-0-part-0.safetensors"],"tensors":{"w":{"dtype":"U8","shape":[4,2],)"
                       R"("placement":{"kind":"shard","dim":0,"blocks":[{"size":4,"parts":1,"repeat":1}]}}}})";
    auto const at = text.find(changed);
    if (at == std::string::npos) { throw std::runtime_error(changed); }
    return text.replace(at, changed.size(), to);
}

TEST(Manifest, WhatDoesNotFitTogetherIsRefusedByFileAndKey) {
    ScratchFolder const folder;
    folder.write("shardwise.json", manifest("", ""));
    ASSERT_NO_THROW(read_manifest(folder.path()));
    struct Case {
        char const* changed;
        char const* to;
        char const* message;
    };
    for (auto const& [changed, to, message] : std::initializer_list<Case>{
             {"{", "", "shardwise.json: "},
             {"manifest/1", "manifest/2", "schema: expected shardwise.manifest/1"},
             {R"("dp":1)", R"("dp":2)", "files: expected one file a rank"},
             {R"("safetensors")", R"("h5")", "format: unknown format 'h5'"},
             {R"("tp":1)", R"("tp":0)", "mesh.tp: "},
             {R"("dp":1,"tp":1)", R"("dp":-1,"tp":-1)", "mesh.dp: "},
             {R"("dp":1,"tp":1)", R"("dp":4294967296,"tp":4294967296)", "mesh"},
             {R"("model-rank-0)", R"("../model-rank-0)", "files[0]: expected a plain file name"},
             {"U8", "U9", "tensors.w.dtype: unknown dtype"},
             {"[4,2]", "[4,-2]", "tensors.w.shape[1]: "},
             {"[4,2]", "[3,2]", "tensors.w.placement: the blocks hold 4"},
             {"[4,2]", "[]", "tensors.w.placement: the tensor has no such dimension"},
             {R"("dim":0)", R"("dim":2)", "tensors.w.placement: the tensor has no such dimension"},
             {R"("dim":0)", R"("dim":-1)", "tensors.w.placement: the tensor has no such dimension"},
             {R"("dim":0)", R"("dim":4294967296)", "tensors.w.placement: the tensor has no such dimension"},
             {R"("shard")", R"("chunk")", "tensors.w.placement.kind: unknown kind 'chunk'"},
             {R"("size":4)", R"("size":-4)", "tensors.w.placement.blocks[0]."},
             {R"("parts":1)", R"("parts":0)", "tensors.w.placement.blocks[0]."},
             {R"("repeat":1)", R"("repeat":0)", "tensors.w.placement.blocks[0]."},
             {R"("parts":1)", R"("parts":2)", "tensors.w.placement.blocks[0]: made for 2 ranks, tp has 1"},
             {R"("tp":1)", R"("tp":1,"fsdp":0)", "mesh.fsdp: "},
             {R"("tp":1)", R"("tp":1,"ep":2)", "mesh: --ep 2 does not divide"},
             {R"("shard")", R"("shard","axis":"up")", "tensors.w.placement.axis: unknown axis 'up'"},
             {R"("shard")", R"("shard","stages":[1])", "tensors.w.placement.stages[0]: "},
             {R"("shard")", R"("shard","then":[{"kind":"replicate","dim":0}])", "tensors.w.placement.then[0]: "},
             {R"("shard")", R"("shard","then":[{"kind":"shard","dim":0}])",
              "tensors.w.placement.then[0]: tp cuts it already"},
             {R"("shard")", R"("shard","then":[{"kind":"shard","dim":0,"axis":"fsdp","blocks":[]}])",
              "tensors.w.placement.then[0]: blocks of a dimension that is cut already"},
         }) {
        folder.write("shardwise.json", manifest(changed, to));
        EXPECT_THAT(error_of([&] { read_manifest(folder.path()); }), IsError(Errc::input, message))
            << changed << " -> " << to;
    }
}

TEST(Manifest, AFolderWithoutOneIsAnIoError) {
    ScratchFolder const folder;
    EXPECT_THAT(error_of([&] { read_manifest(folder.path()); }), IsError(Errc::io, "shardwise.json: No such file"));
}

}  // namespace
}  // namespace shardwise::test
