// Folders that a checkpoint is written to: what is refused, what is replaced, what stays.
#include "exec/checkpoint_writer.hpp"

#include <filesystem>

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "support/error_of.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

constexpr char const* kIndex = "model.safetensors.index.json";

/// One tensor of @p bytes a file.
CheckpointLayout layout_of(std::vector<std::string> const& names, std::uint64_t bytes) {
    CheckpointLayout layout;
    for (auto const& name : names) {
        layout.files.push_back(
            {name, {}, {{"t." + name, DType::u8, {static_cast<std::int64_t>(bytes)}, bytes, 0, 0}}, bytes});
    }
    if (names.size() > 1) { layout.index_name = kIndex; }
    return layout;
}

void write_all(CheckpointLayout const& layout, CheckpointWriter& writer) {
    for (std::uint32_t file = 0; file < layout.files.size(); ++file) {
        auto const size = layout.files[file].data_bytes;
        std::vector<std::byte> const bytes(size, std::byte{7});
        auto const half = std::span(bytes).first(size / 2);
        writer.write({file, {0, half.size()}, false}, half);
        writer.write({file, {half.size(), size}, true}, std::span(bytes).subspan(half.size()));
    }
}

void write_checkpoint(CheckpointLayout const& layout, std::string const& folder, std::string const& config = "{}") {
    auto const communicator = make_self_communicator();
    CheckpointWriter writer(layout, folder);
    write_all(layout, writer);
    put_in_place(layout, folder, config, writer, *communicator);
}

TEST(CheckpointWriter, NothingHasItsNameBeforeAllIsWritten) {
    ScratchFolder const folder;
    auto const layout = layout_of({"a.safetensors", "b.safetensors"}, 10);
    {
        CheckpointWriter writer(layout, folder.path());
        write_all(layout, writer);
        EXPECT_EQ(folder.names().size(), 2U);
        for (auto const& name : folder.names()) {
            EXPECT_TRUE(name.starts_with(".") && name.ends_with(".tmp")) << name;
        }
    }
    EXPECT_THAT(folder.names(), ElementsAre());
    write_checkpoint(layout, folder.path());
    EXPECT_THAT(folder.names(), ElementsAre("a.safetensors", "b.safetensors", "config.json", kIndex));
    EXPECT_EQ(content_of(folder.path() + "/a.safetensors"), header_of(layout.files[0]) + std::string(10, '\7'));
    EXPECT_EQ(content_of(folder.path() + "/" + kIndex), index_json(layout));
}

TEST(CheckpointWriter, FilesOfAnOlderCheckpointGoOthersStay) {
    ScratchFolder const folder;
    write_checkpoint(layout_of({"model-1.safetensors", "model-2.safetensors", "model-3.safetensors"}, 4),
                     folder.path());
    for (auto const* name : {"optimizer.safetensors", "adapter.safetensors", "tokenizer.json"}) {
        folder.write(name, "");
    }
    ::chmod((folder.path() + "/model-1.safetensors").c_str(), 0640);
    ::chmod((folder.path() + "/" + kIndex).c_str(), 0604);

    auto const layout = layout_of({"model-1.safetensors", "model-4.safetensors"}, 9);
    write_checkpoint(layout, folder.path());
    EXPECT_THAT(folder.names(),
                UnorderedElementsAre("adapter.safetensors", "config.json", "model-1.safetensors", "model-4.safetensors",
                                     kIndex, "optimizer.safetensors", "tokenizer.json"));
    EXPECT_EQ(content_of(folder.path() + "/model-1.safetensors"), header_of(layout.files[0]) + std::string(9, '\7'));
    auto const mode = [&](std::string const& name) {
        return static_cast<unsigned>(fs::status(folder.path() + "/" + name).permissions());
    };
    EXPECT_EQ(mode("model-1.safetensors"), 0640U);
    EXPECT_EQ(mode(kIndex), 0604U);

    write_checkpoint(layout_of({"model.safetensors"}, 3), folder.path());
    EXPECT_THAT(folder.names(), UnorderedElementsAre("adapter.safetensors", "config.json", "model.safetensors",
                                                     "optimizer.safetensors", "tokenizer.json"));
}

TEST(CheckpointWriter, ABrokenIndexGoesAndFilesThatNobodyCanTellOfStay) {
    ScratchFolder const folder;
    folder.write(kIndex, "{");
    folder.write("model-9.safetensors", "");
    write_checkpoint(layout_of({"model.safetensors"}, 3), folder.path());
    EXPECT_THAT(folder.names(), ElementsAre("config.json", "model-9.safetensors", "model.safetensors"));
}

TEST(CheckTarget, RefusesWhatWouldBeMixedOrLost) {
    ScratchFolder const folder;
    auto const refusal = [&](bool overwrite) {
        return error_of([&] { check_target(folder.path(), "{}", overwrite); });
    };
    folder.write("tokenizer.json", "");
    folder.write(".model.safetensors.1.2.tmp", "");
    folder.write("config.json", "{}");
    EXPECT_FALSE(refusal(false));
    folder.write("config.json", "{ }");
    EXPECT_THAT(refusal(false), IsError(Errc::input, "holds another config.json already; --overwrite"));
    EXPECT_FALSE(refusal(true));
    folder.write("x.safetensors", "");
    EXPECT_THAT(refusal(false), IsError(Errc::input, "holds x.safetensors already; --overwrite"));
    EXPECT_FALSE(refusal(true));
    folder.write("shardwise.json", "");
    EXPECT_THAT(refusal(true), IsError(Errc::input, "holds rank files"));
    EXPECT_THAT(error_of([&] { check_target(folder.path() + "/config.json", "{}", true); }),
                IsError(Errc::input, "no folder"));
    EXPECT_FALSE(error_of([&] { check_target(folder.path() + "/new", "{}", false); }));
}

}  // namespace
}  // namespace shardwise::test
