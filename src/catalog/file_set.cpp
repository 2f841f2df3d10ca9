#include "catalog/file_set.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <unordered_map>

#include <fmt/format.h>
#include <simdjson.h>

#include <shardwise/error.hpp>

#include "util/file.hpp"
#include "util/name_hash.hpp"
#include "util/natural_order.hpp"
#include "util/parallel.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

namespace fs = std::filesystem;
namespace dom = simdjson::dom;

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

/// An index must not reach out of its folder.
void check_listed_name(std::string_view name) {
    bool const is_plain = !name.empty() && fs::path(name).filename() == fs::path(name) && name != "." && name != ".." &&
                          name.find('\0') == std::string_view::npos;
    if (!is_plain) { refuse(fmt::format("'{}' is not a plain file name", name)); }
}

void read_index(FileSet& files, fs::path const& folder) {
    for (auto& [name, tensors] : parse_index(read_text(files.index_path))) {
        files.paths.push_back((folder / name).string());
        files.listed.push_back(std::move(tensors));
    }
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

/// What an index gives its files, asked file by file.
class ListedNames {
   public:
    explicit ListedNames(FileSet const& files) : files_(files) {}

    HashedNames const& of(std::size_t file) {
        if (file_ != file) { of_file_ = HashedNames(files_.listed[file].begin(), files_.listed[file].end()); }
        file_ = file;
        return of_file_;
    }

    /// Whether any file is given the tensor. Nearly every file holds what it is given, so this is rarely asked.
    bool anywhere(std::string_view name) {
        if (all_.empty()) {
            for (auto const& names : files_.listed) { all_.insert(names.begin(), names.end()); }
        }
        return all_.contains(name);
    }

   private:
    FileSet const& files_;
    std::optional<std::size_t> file_;
    HashedNames of_file_;
    HashedNames all_;
};

/// Drops tensors that the index gives to another file, or does not list, and counts the latter.
void keep_listed_tensors(FileSet const& files, std::vector<FileHeader>& headers, std::vector<std::string>& warnings) {
    std::size_t unlisted = 0;
    std::string first_unlisted;
    ListedNames listed(files);
    for (std::size_t file = 0; file < headers.size(); ++file) {
        std::erase_if(headers[file].tensors, [&](TensorRecord const& tensor) {
            if (listed.of(file).contains(tensor.name)) { return false; }
            if (listed.anywhere(tensor.name)) { return true; }
            if (unlisted++ == 0) { first_unlisted = fmt::format("{} in {}", tensor.name, headers[file].file.path); }
            return true;
        });
    }
    if (unlisted > 0) {
        warnings.push_back(fmt::format("{} tensor(s) stand in files but not in {} and are not loaded; the first is {}",
                                       unlisted, files.index_path, first_unlisted));
    }
}

void check_all_listed_are_held(FileSet const& files, std::vector<FileHeader> const& headers) {
    for (std::size_t file = 0; file < headers.size(); ++file) {
        if (headers[file].tensors.size() == files.listed[file].size()) { continue; }
        HashedNames held;
        for (auto const& tensor : headers[file].tensors) { held.insert(tensor.name); }
        for (auto const& name : files.listed[file]) {
            if (held.contains(name)) { continue; }
            refuse(fmt::format("{} gives {} to {}, which does not hold it", files.index_path, name, files.paths[file]));
        }
    }
}

void check_no_duplicates(std::vector<FileHeader> const& headers) {
    std::unordered_map<std::string_view, std::size_t, NameHash> file_of;
    for (std::size_t file = 0; file < headers.size(); ++file) {
        for (auto const& tensor : headers[file].tensors) {
            auto const [at, is_new] = file_of.emplace(tensor.name, file);
            if (is_new) { continue; }
            refuse(fmt::format("{} stands in both {} and {}, and no index says which to take", tensor.name,
                               headers[at->second].file.path, headers[file].file.path));
        }
    }
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

WeightMap parse_index(std::string const& json) {
    dom::parser parser;
    dom::object document;
    if (auto const error = parser.parse(json).get(document); error != simdjson::SUCCESS) {
        refuse(fmt::format("not a JSON object: {}", simdjson::error_message(error)));
    }
    dom::object weight_map;
    if (document["weight_map"].get(weight_map) != simdjson::SUCCESS) { refuse("no object 'weight_map'"); }

    WeightMap tensors_of(natural_file_less);
    HashedNames names;
    names.reserve(weight_map.size());
    WeightMap::value_type* last = nullptr;  // neighbours in the list mostly lie in one file
    for (auto const [tensor, value] : weight_map) {
        std::string_view file;
        if (value.get(file) != simdjson::SUCCESS) { refuse(fmt::format("weight_map: '{}' has no file name", tensor)); }
        if (last == nullptr || last->first != file) {
            check_listed_name(file);
            last = &*tensors_of.try_emplace(std::string(file)).first;
        }
        if (!names.insert(tensor)) { refuse(fmt::format("weight_map names the tensor {} twice", tensor)); }
        last->second.emplace_back(tensor);
    }
    if (tensors_of.empty()) { refuse("weight_map is empty"); }
    return tensors_of;
}

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
    if (files.index_path.empty()) {
        check_no_duplicates(headers);
    } else {
        keep_listed_tensors(files, headers, parts.warnings);
        check_all_listed_are_held(files, headers);
    }
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
    return Catalog(std::move(parts));
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
        for (auto const& name : names) { out.put(name); }
    }
    return out.take();
}

FileSet decode_file_set(std::span<std::byte const> bytes) {
    WireReader in(bytes);
    FileSet files;
    files.root = in.get_text();
    files.config_json = in.get_text();
    files.index_path = in.get_text();
    files.paths.resize(in.get_count());
    for (auto& path : files.paths) { path = in.get_text(); }
    files.listed.resize(in.get_count());
    for (auto& names : files.listed) {
        names.resize(in.get_count());
        for (auto& name : names) { name = in.get_text(); }
    }
    return files;
}

}  // namespace shardwise
