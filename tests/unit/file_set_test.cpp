#include "catalog/file_set.hpp"

#include <gmock/gmock.h>

#include "support/error_of.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

constexpr char const* kIndex = "model.safetensors.index.json";

/// Names of the files that make up the checkpoint at @p path.
std::vector<std::string> chosen(std::string const& path) {
    std::vector<std::string> names;
    for (auto const& file : resolve_file_set(path).paths) { names.push_back(fs::path(file).filename()); }
    return names;
}

TEST(FileSet, WithoutAnIndexAllShardsAreTakenInNaturalOrder) {
    ScratchFolder const folder;
    for (auto const* name :
         {"m-10.safetensors", "m-9.safetensors", "m-9.bin", ".m-1.safetensors.123.tmp", ".hidden.safetensors",
          "optimizer.safetensors", "scheduler-1.safetensors", "rng_state_0.safetensors", "readme.md"}) {
        folder.write(name, "");
    }
    EXPECT_THAT(chosen(folder.path()), ElementsAre("m-9.safetensors", "m-10.safetensors"));
}

TEST(FileSet, AConsolidatedFileIsTakenAlone) {
    ScratchFolder const folder;
    for (auto const* name : {"model.safetensors", "model-1-of-2.safetensors", "adapter.safetensors"}) {
        folder.write(name, "");
    }
    EXPECT_THAT(chosen(folder.path()), ElementsAre("model.safetensors"));
}

TEST(FileSet, TheIndexDecidesWhichFilesCount) {
    ScratchFolder const folder;
    folder.write(kIndex, R"({"weight_map":{"x":"b-2.safetensors","y":"b-10.safetensors"}})");
    for (auto const* name : {"b-2.safetensors", "b-10.safetensors", "model.safetensors", "stale.safetensors"}) {
        folder.write(name, "");
    }
    EXPECT_THAT(chosen(folder.path()), ElementsAre("b-2.safetensors", "b-10.safetensors"));
}

TEST(FileSet, APathToAFileOrToAnIndexIsTakenAtItsWord) {
    ScratchFolder const folder;
    folder.write("other.safetensors.index.json", R"({"weight_map":{"x":"b.safetensors"}})");
    folder.write(kIndex, R"({"weight_map":{"x":"a.safetensors"}})");
    auto const a = folder.write("a.safetensors", "");
    folder.write("b.safetensors", "");
    EXPECT_THAT(chosen(a), ElementsAre("a.safetensors"));
    EXPECT_THAT(chosen(folder / "other.safetensors.index.json"), ElementsAre("b.safetensors"));
    EXPECT_THAT(chosen(folder.path()), ElementsAre("a.safetensors")) << "the usual name goes first";
}

TEST(FileSet, SeveralUnusualIndexesLeaveTheChoiceOpen) {
    ScratchFolder const folder;
    folder.write("a.safetensors.index.json", "{}");
    folder.write("b.safetensors.index.json", "{}");
    EXPECT_THAT(
        error_of([&] { resolve_file_set(folder.path()); }),
        IsError(Errc::input,
                "holds 2 index files (a.safetensors.index.json, b.safetensors.index.json); name the one to load"));
}

TEST(FileSet, AnIndexThatNamesAnAbsentFileIsAnError) {
    ScratchFolder const folder;
    folder.write("here.safetensors", "");
    auto const index = folder.write(
        kIndex, R"({"weight_map":{"x":"here.safetensors","y":"gone.safetensors","z":"gone.safetensors"}})");
    EXPECT_THAT(error_of([&] { resolve_file_set(folder.path()); }),
                IsError(Errc::input, index + ": names gone.safetensors, which is not there (2 tensors)"));
}

TEST(FileSet, AMalformedIndexIsAnErrorThatNamesIt) {
    ScratchFolder const folder;
    auto const index = folder.write(kIndex, "{");
    EXPECT_THAT(error_of([&] { resolve_file_set(folder.path()); }),
                IsError(Errc::input, index + ": not a JSON object"));
}

TEST(FileSet, FoldersWithoutTensorFilesAreErrorsThatSayWhatIsThere) {
    ScratchFolder const folder;
    EXPECT_THAT(error_of([&] { resolve_file_set(folder / "none"); }),
                IsError(Errc::input, "no checkpoint at " + (folder / "none")));
    EXPECT_THAT(error_of([&] { resolve_file_set(folder.path()); }),
                IsError(Errc::input, folder.path() + " holds no .safetensors file"));
    folder.write("optimizer.safetensors", "");
    folder.write("pytorch_model.bin", "");
    EXPECT_THAT(error_of([&] { resolve_file_set(folder.path()); }),
                IsError(Errc::input, "it has pytorch_model.bin: convert it"));
}

TEST(FileSet, WhatTheSystemRefusesToLookAtIsAnIoError) {
    ScratchFolder const folder;
    fs::create_symlink("loop", folder / "loop");
    EXPECT_THAT(error_of([&] { resolve_file_set(folder / "loop"); }), IsError(Errc::io, folder / "loop"));
    folder.write(kIndex, R"({"weight_map":{"x":")" + std::string(300, 'n') + R"("}})");
    EXPECT_THAT(error_of([&] { resolve_file_set(folder.path()); }), IsError(Errc::io, "File name too long"));
}

/// A hub cache: real bytes under blobs/, links to them under snapshots/REVISION/, the revision's name in refs/main.
void make_hub_cache(ScratchFolder const& folder) {
    folder.write("blobs/aaaa", one_tensor_file("x", 5));
    folder.write("blobs/bbbb", one_tensor_file("y", 6));
    folder.write("blobs/cccc", R"({"weight_map":{"x":"model-1.safetensors","y":"model-2.safetensors"}})");
    folder.write("blobs/dddd", R"({"model_type":"llama"})");
    folder.write("refs/main", "c0ffee\n");
    fs::create_directories(folder / "snapshots/c0ffee");
    for (auto const& [name, blob] :
         std::initializer_list<std::pair<char const*, char const*>>{{"model-1.safetensors", "aaaa"},
                                                                    {"model-2.safetensors", "bbbb"},
                                                                    {kIndex, "cccc"},
                                                                    {"config.json", "dddd"}}) {
        fs::create_symlink(std::string("../../blobs/") + blob, folder / (std::string("snapshots/c0ffee/") + name));
    }
}

TEST(FileSet, AHubCacheStandsForItsMainSnapshot) {
    ScratchFolder const folder;
    make_hub_cache(folder);
    for (auto const& path : {folder.path(), folder / "snapshots/c0ffee"}) {
        auto const catalog = Catalog::open(path);
        EXPECT_EQ(catalog.config_json(), R"({"model_type":"llama"})");
        ASSERT_EQ(catalog.tensors().size(), 2U);
        EXPECT_EQ(catalog.tensors()[0].size_bytes, 5U);
        EXPECT_EQ(catalog.tensors()[1].size_bytes, 6U);
    }
}

TEST(FileSet, ABlobThatWasNotDownloadedIsAnAbsentFile) {
    ScratchFolder const folder;
    make_hub_cache(folder);
    fs::remove(folder / "blobs/bbbb");
    EXPECT_THAT(error_of([&] { Catalog::open(folder.path()); }),
                IsError(Errc::input, "names model-2.safetensors, which is not there"));
}

TEST(FileSet, ARevisionThatWasNotDownloadedIsAnError) {
    ScratchFolder const folder;
    make_hub_cache(folder);
    folder.write("refs/main", "0123abcd");
    EXPECT_THAT(error_of([&] { Catalog::open(folder.path()); }),
                IsError(Errc::input, "names the snapshot '0123abcd', which is not in"));
}

TEST(FileSet, ComesBackFromItsBinaryForm) {
    FileSet const files{"/model", "{}", {"/model/a", "/model/b"}, "/model/i", {{"x", ""}, {}}};
    auto const bytes = encode(files);
    auto const back = decode_file_set(bytes);
    EXPECT_EQ(back.root, files.root);
    EXPECT_EQ(back.config_json, files.config_json);
    EXPECT_EQ(back.paths, files.paths);
    EXPECT_EQ(back.index_path, files.index_path);
    EXPECT_EQ(back.listed, files.listed);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        EXPECT_THAT(error_of([&] {
                        decode_file_set({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)});
                    }),
                    IsError(Errc::peer, "ends early"))
            << size;
    }
}

}  // namespace
}  // namespace shardwise::test
