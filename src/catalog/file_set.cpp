#include "catalog/file_set.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <mutex>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "catalog/weight_map.hpp"
#include "util/file.hpp"
#include "util/name_hash.hpp"
#include "util/natural_order.hpp"
#include "util/parallel.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIndexEnding = ".safetensors.index.json";
constexpr std::string_view kTensorEnding = ".safetensors";

/// Starts of file names that hold the state of a training run, not a model.
constexpr std::array<std::string_view, 5> kTrainingState = {"optimizer", "scheduler", "scaler", "training_args",
                                                            "rng_state"};

[[noreturn]] void refuse(std::string text) { throw Error(Errc::input, std::move(text)); }

bool is_training_state(std::string_view name) {
    return std::any_of(kTrainingState.begin(), kTrainingState.end(),
                       [&](std::string_view start) { return name.starts_with(start); });
}

/// Follows a hub cache folder to its main snapshot; any other folder is returned as it is.
fs::path follow_hub_cache(fs::path const& folder) {
    auto const main_ref = folder / "refs" / "main";
    if (!fs::exists(main_ref) || !fs::is_directory(folder / "snapshots")) { return folder; }
    std::string revision = read_text(main_ref.string());
    revision.erase(revision.find_last_not_of(" \n\r\t") + 1);
    auto const snapshot = folder / "snapshots" / revision;
    if (revision.empty() || !fs::is_directory(snapshot)) {
        refuse(fmt::format("{} names the snapshot '{}', which is not in {}", main_ref.string(), revision,
                           (folder / "snapshots").string()));
    }
    return snapshot;
}

std::vector<std::string> names_with_ending(fs::path const& folder, std::string_view ending) {
    std::vector<std::string> names;
    for (auto const& entry : fs::directory_iterator(folder)) {
        auto name = entry.path().filename().string();
        if (name.ends_with(ending) && !name.starts_with('.')) { names.push_back(std::move(name)); }
    }
    std::sort(names.begin(), names.end(), natural_file_less);
    return names;
}

/// The index of a folder; empty if it has none.
std::string find_index(fs::path const& folder) {
    auto const names = names_with_ending(folder, kIndexEnding);
    std::string const usual = fmt::format("model{}", kIndexEnding);
    if (std::find(names.begin(), names.end(), usual) != names.end()) { return (folder / usual).string(); }
    if (names.size() > 1) {
        refuse(fmt::format("{} holds {} index files ({}); name the one to load", folder.string(), names.size(),
                           fmt::join(names, ", ")));
    }
    return names.empty() ? std::string() : (folder / names.front()).string();
}

void read_index(FileSet& files, fs::path const& folder) {
    auto index = parse_index(read_text(files.index_path));
    for (auto const& name : index.files) { files.paths.push_back((folder / name).string()); }
    files.listed = std::move(index.tensors);
    files.listed_text = std::move(index.text);
    for_each_file(files.paths.size(), [&](std::size_t file) {
        fs::path const path = files.paths[file];
        if (fs::exists(path)) { return; }
        refuse(fmt::format("names {}, which is not there ({} tensors)", path.filename().string(),
                           files.listed[file].size()));
    });
}

void list_files_without_index(FileSet& files, fs::path const& folder) {
    auto names = names_with_ending(folder, kTensorEnding);
    std::string const single = "model.safetensors";
    if (std::find(names.begin(), names.end(), single) != names.end()) { names = {single}; }
    std::erase_if(names, is_training_state);
    if (names.empty()) {
        refuse(fmt::format("{} holds no .safetensors file{}", folder.string(),
                           fs::exists(folder / "pytorch_model.bin")
                               ? "; it has pytorch_model.bin: convert it to safetensors first"
                               : ""));
    }
    for (auto const& name : names) { files.paths.push_back((folder / name).string()); }
}

/// What an index says of the tensors in one file's header.
struct Unlisted {
    std::size_t count = 0;  ///< given to no file
    std::string first;
};

/// Drops tensors that the index gives to another file, or does not list, and counts the latter.
/// @param anywhere whether the index lists a name at all; rarely asked.
template <class Anywhere>
Unlisted keep_listed(FileHeader& header, HashedNames const& listed, Anywhere anywhere) {
    Unlisted unlisted;
    std::erase_if(header.tensors, [&](TensorRecord const& tensor) {
        if (listed.contains(tensor.name)) { return false; }
        if (anywhere(tensor.name)) { return true; }
        if (unlisted.count++ == 0) { unlisted.first = fmt::format("{} in {}", tensor.name, header.file.path); }
        return true;
    });
    return unlisted;
}

void check_all_listed_are_held(FileSet const& files, std::size_t file, FileHeader const& header) {
    auto const& listed = files.listed[file];
    if (header.tensors.size() == listed.size()) { return; }
    HashedNames held;
    for (auto const& tensor : header.tensors) { held.insert(tensor.name); }
    HashedNames seen;
    for (auto const name : listed) {
        if (!held.contains(name)) {
            refuse(fmt::format("{} gives {} to {}, which does not hold it", files.index_path, name, files.paths[file]));
        }
        if (!seen.insert(name)) {
            refuse(fmt::format("{} gives {} to {} twice", files.index_path, name, files.paths[file]));
        }
    }
}

/// Leaves in each header what the index gives to its file.
void follow_index(FileSet const& files, std::vector<FileHeader>& headers, std::vector<std::string>& warnings) {
    HashedNames all;
    std::once_flag is_filled;
    auto const anywhere = [&](std::string_view name) {
        std::call_once(is_filled, [&] {
            for (auto const& listed : files.listed) { all.insert(listed.begin(), listed.end()); }
        });
        return all.contains(name);
    };
    constexpr std::size_t kLeastNames = 8192;
    std::size_t names = 0;
    for (auto const& listed : files.listed) { names += listed.size(); }
    std::vector<Unlisted> unlisted(headers.size());
    for_each_in_parallel(headers.size(), parts_for_threads(names, kLeastNames).size(), [&](std::size_t file) {
        HashedNames const listed(files.listed[file].begin(), files.listed[file].end());
        unlisted[file] = keep_listed(headers[file], listed, anywhere);
        check_all_listed_are_held(files, file, headers[file]);
    });
    std::size_t count = 0;
    for (auto const& of_file : unlisted) { count += of_file.count; }
    if (count == 0) { return; }
    auto const first = std::ranges::find_if(unlisted, [](Unlisted const& of_file) { return of_file.count > 0; });
    warnings.push_back(fmt::format("{} tensor(s) stand in files but not in {} and are not loaded; the first is {}",
                                   count, files.index_path, first->first));
}

void check_no_duplicates(FileSet const& files, Catalog const& catalog) {
    auto const tensors = catalog.tensors();
    auto const twice = std::ranges::adjacent_find(tensors, {}, &TensorRecord::name);
    if (twice == tensors.end()) { return; }
    auto const& path = catalog.files()[twice->file].path;
    auto const& other = catalog.files()[std::next(twice)->file].path;
    if (files.index_path.empty()) {
        refuse(fmt::format("{} stands in both {} and {}, and no index says which to take", twice->name, path, other));
    }
    refuse(fmt::format("{} gives {} to both {} and {}", files.index_path, twice->name, path, other));
}

FileSet find_files(std::string const& path) {
    FileSet files;
    files.root = path;
    if (!fs::exists(path)) {
        throw Error(Errc::input, fmt::format("no checkpoint at {}: no such file or folder", path));
    }
    if (fs::is_regular_file(path) && !path.ends_with(kIndexEnding)) {
        files.paths.push_back(path);
    } else {
        fs::path const folder = fs::is_directory(path) ? follow_hub_cache(path) : fs::path(path).parent_path();
        files.index_path = fs::is_directory(path) ? find_index(folder) : path;
        if (files.index_path.empty()) {
            list_files_without_index(files, folder);
        } else {
            try {
                read_index(files, folder);
            } catch (Error const& error) { throw error.while_(files.index_path); }
        }
    }
    auto const config = fs::path(files.paths.front()).parent_path() / "config.json";
    if (fs::exists(config)) { files.config_json = read_text(config.string()); }
    return files;
}

}  // namespace

FileSet resolve_file_set(std::string const& path) {
    try {
        return find_files(path);
    } catch (fs::filesystem_error const& error) {
        // A folder that may not be searched, a loop of links, a name that is too long.
        throw Error(Errc::io, fmt::format("look at {}: {}", error.path1().string(), error.code().message()));
    }
}

Catalog build_catalog(FileSet const& files, std::vector<FileHeader> headers) {
    Catalog::Parts parts;
    parts.root = files.root;
    parts.config_json = files.config_json;
    parts.index_name = fs::path(files.index_path).filename().string();
    if (!files.index_path.empty()) { follow_index(files, headers, parts.warnings); }
    std::size_t tensors = 0;
    for (auto const& header : headers) { tensors += header.tensors.size(); }
    parts.tensors.reserve(tensors);
    for (std::uint32_t file = 0; file < headers.size(); ++file) {
        parts.files.push_back(std::move(headers[file].file));
        for (auto& tensor : headers[file].tensors) {
            tensor.file = file;
            parts.tensors.push_back(std::move(tensor));
        }
        headers[file].tensors = {};
    }
    if (parts.tensors.empty()) { refuse(fmt::format("the checkpoint {} holds no tensor", files.root)); }
    Catalog catalog(std::move(parts));
    check_no_duplicates(files, catalog);
    return catalog;
}

Catalog Catalog::open(std::string const& path) {
    auto const files = resolve_file_set(path);
    return build_catalog(files, read_file_headers(files.paths));
}

std::vector<std::byte> encode(FileSet const& files) {
    WireWriter out;
    out.put(files.root);
    out.put(files.config_json);
    out.put(files.index_path);
    out.put<std::uint64_t>(files.paths.size());
    for (auto const& path : files.paths) { out.put(path); }
    out.put<std::uint64_t>(files.listed.size());
    for (auto const& names : files.listed) {
        out.put<std::uint64_t>(names.size());
        for (auto const name : names) { out.put(name); }
    }
    return out.take();
}

FileSet decode_file_set(std::vector<std::byte> bytes) {
    auto const text = std::make_shared<std::vector<std::byte>>(std::move(bytes));
    WireReader in(*text);
    FileSet files;
    files.listed_text = text;
    files.root = in.get_text();
    files.config_json = in.get_text();
    files.index_path = in.get_text();
    files.paths.resize(in.get_count());
    for (auto& path : files.paths) { path = in.get_text(); }
    files.listed.resize(in.get_count());
    for (auto& names : files.listed) {
        names.resize(in.get_count());
        for (auto& name : names) { name = in.get_view(); }
    }
    return files;
}

}  // namespace shardwise
