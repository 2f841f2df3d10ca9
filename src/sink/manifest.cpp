#include "sink/manifest.hpp"

#include <array>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

#include "util/file.hpp"
#include "util/json_reader.hpp"

namespace shardwise {
namespace {

std::int64_t read_count(JsonReader const& json, std::int64_t least) {
    auto const count = json.integer();
    constexpr std::int64_t kMost = std::int64_t{1} << 31U;  // of ranks; so products of two do not overflow
    if (count < least || (least > 0 && count > kMost)) { json.refuse(fmt::format("{} is out of range", count)); }
    return count;
}

/// @param shape of the tensor.
Placement read_placement(JsonReader const& json, Shape const& shape) {
    constexpr std::array kKinds = {Placement::Kind::replicate, Placement::Kind::shard, Placement::Kind::packed,
                                   Placement::Kind::expert};
    auto const kind = json["kind"].text();
    for (auto const known : kKinds) {
        if (kind != to_string(known)) { continue; }
        Placement placement{known, 0, {}};
        if (known == Placement::Kind::replicate) { return placement; }
        auto const dim = json["dim"].integer();
        if (dim < 0 || dim >= static_cast<std::int64_t>(shape.rank())) {
            json.refuse("the tensor has no such dimension");
        }
        placement.dim = static_cast<std::uint32_t>(dim);
        std::int64_t held = 0;
        for (auto const& block : json["blocks"].array()) {
            auto const size = read_count(block["size"], 0);
            placement.blocks.push_back({size, read_count(block["parts"], 1), read_count(block["repeat"], 1)});
            if (__builtin_add_overflow(held, size, &held)) { block.refuse("the sizes overflow"); }
        }
        auto const extent = shape[placement.dim];
        if (held != extent) { json.refuse(fmt::format("the blocks hold {}, the dimension has {}", held, extent)); }
        return placement;
    }
    json["kind"].refuse(fmt::format("unknown kind '{}'", kind));
}

PlannedTensor read_tensor(std::string const& name, JsonReader const& json) {
    PlannedTensor tensor;
    tensor.name = name;
    auto const dtype = parse_dtype(json["dtype"].text());
    if (!dtype) { json["dtype"].refuse("unknown dtype"); }
    tensor.dtype = *dtype;
    std::vector<std::int64_t> extents;
    for (auto const& extent : json["shape"].array()) { extents.push_back(read_count(extent, 0)); }
    tensor.global_shape = Shape(extents);
    tensor.placement = read_placement(json["placement"], tensor.global_shape);
    return tensor;
}

RankFormat read_format(JsonReader const& json) {
    auto const name = json.text();
    for (auto const format : {RankFormat::safetensors, RankFormat::hdf5}) {
        if (name == to_string(format)) { return format; }
    }
    json.refuse(fmt::format("unknown format '{}'", name));
}

}  // namespace

std::string manifest_path(std::string const& folder) {
    return (std::filesystem::path(folder) / "shardwise.json").string();
}

bool has_manifest(std::string const& folder) { return std::filesystem::exists(manifest_path(folder)); }

Manifest read_manifest(std::string const& folder) {
    auto const path = manifest_path(folder);
    return parse_manifest(read_text(path), path);
}

Manifest parse_manifest(std::string const& text, std::string const& path) {
    auto const document = parse_json(text, path);
    JsonReader const json(document, path);
    if (json["schema"].text() != "shardwise.manifest/1") { json["schema"].refuse("expected shardwise.manifest/1"); }
    Manifest manifest;
    manifest.mesh = {read_count(json["mesh"]["dp"], 1), read_count(json["mesh"]["tp"], 1)};
    manifest.format = read_format(json["format"]);
    manifest.files = json["files"].texts();
    if (static_cast<std::int64_t>(manifest.files.size()) != manifest.mesh.world()) {
        json["files"].refuse("expected one file a rank");
    }
    for (auto const& name : json["files"].array()) { read_file_name(name); }
    if (auto const digest = json.find("source_digest")) { manifest.source_digest = digest->text(); }
    if (auto const source = json.find("source")) { manifest.source = read_source(*source); }
    for (auto const& [name, tensor] : json["tensors"].members()) {
        manifest.tensors.emplace(name, read_tensor(name, tensor));
    }
    return manifest;
}

}  // namespace shardwise
