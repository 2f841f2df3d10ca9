#include "exec/checkpoint_writer.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "catalog/file_set.hpp"
#include "sink/manifest.hpp"
#include "util/file.hpp"

namespace shardwise {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTensorEnding = ".safetensors";
constexpr std::string_view kIndexEnding = ".safetensors.index.json";
constexpr char const* kConfigName = "config.json";

std::string path_in(std::string const& folder, std::string const& name) { return (fs::path(folder) / name).string(); }

/// Names of files in the folder with that ending but hidden ones, sorted; none if there is no folder.
std::vector<std::string> names_with_ending(std::string const& folder, std::string_view ending) {
    std::vector<std::string> names;
    if (!fs::exists(folder)) { return names; }
    for (auto const& entry : fs::directory_iterator(folder)) {
        auto name = entry.path().filename().string();
        if (name.ends_with(ending) && !name.starts_with('.')) { names.push_back(std::move(name)); }
    }
    std::sort(names.begin(), names.end());
    return names;
}

/// Files that a reader of the folder takes for its checkpoint now and that @p layout does not replace.
std::vector<std::string> surplus_files(std::string const& folder, CheckpointLayout const& layout) {
    std::vector<std::string> surplus;
    if (names_with_ending(folder, kTensorEnding).empty()) { return surplus; }
    std::vector<std::string> present;
    try {
        present = resolve_file_set(folder).paths;
    } catch (Error const&) {
        return surplus;  // an index that is broken or not the only one: nobody can tell what belongs together
    }
    for (auto const& path : present) {
        auto const name = fs::path(path).filename().string();
        bool const is_replaced = std::any_of(layout.files.begin(), layout.files.end(),
                                             [&](OutputFile const& file) { return file.name == name; });
        if (!is_replaced && fs::exists(path_in(folder, name))) { surplus.push_back(path_in(folder, name)); }
    }
    return surplus;
}

}  // namespace

void CheckpointWriter::write(Window const& window, std::span<std::byte const> bytes) {
    if (!writer_) {
        auto const& file = layout_.files[window.file];
        auto const header = header_of(file);
        files_.emplace_back(path_in(folder_, file.name));
        writer_.emplace(files_.back(), header.size() + file.data_bytes);
        writer_->write(std::as_bytes(std::span(header)));
    }
    writer_->write(bytes);
    if (!window.is_last) { return writer_->start_writeback(); }
    writer_->close();
    writer_.reset();
    files_.back().make_durable();
}

void CheckpointWriter::commit() {
    for (auto& file : files_) { file.commit(); }
}

void check_target(std::string const& folder, std::string const& config_json, bool overwrite) {
    if (fs::exists(folder) && !fs::is_directory(folder)) {
        throw Error(Errc::input, fmt::format("{} is no folder to write a checkpoint to", folder));
    }
    if (has_manifest(folder)) {
        throw Error(Errc::input,
                    fmt::format("{} holds rank files ({}); write the checkpoint to another folder", folder,
                                fs::path(manifest_path(folder)).filename().string()));
    }
    if (overwrite) { return; }
    auto const refuse = [&](std::string const& name) {
        throw Error(Errc::input, fmt::format("{} holds {} already; --overwrite replaces it", folder, name));
    };
    for (auto const ending : {kTensorEnding, kIndexEnding}) {
        auto const names = names_with_ending(folder, ending);
        if (!names.empty()) { refuse(names.front()); }
    }
    auto const config = path_in(folder, kConfigName);
    if (!config_json.empty() && fs::exists(config) && read_text(config) != config_json) {
        refuse(fmt::format("another {}", kConfigName));
    }
}

void put_in_place(CheckpointLayout const& layout, std::string const& folder, std::string const& config_json,
                  CheckpointWriter& writer, Communicator& communicator) {
    std::vector<std::string> surplus;
    std::optional<PendingFile> index;
    together(communicator, [&] {
        if (communicator.rank() != 0) { return; }
        surplus = surplus_files(folder, layout);
        if (!layout.index_name.empty()) {
            index.emplace(pending_text(path_in(folder, layout.index_name), index_json(layout)));
        }
        if (!config_json.empty()) { write_file_atomically(path_in(folder, kConfigName), config_json); }
        for (auto const& name : names_with_ending(folder, kIndexEnding)) { fs::remove(path_in(folder, name)); }
    });
    together(communicator, [&] { writer.commit(); });
    together(communicator, [&] {
        for (auto const& path : surplus) { fs::remove(path); }
        if (index) { index->commit(); }
    });
}

}  // namespace shardwise
