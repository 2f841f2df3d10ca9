#include "sink/manifest.hpp"

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

std::int64_t read_count_or(JsonReader const& json, std::string const& key, std::int64_t absent) {
    auto const value = json.find(key);
    return value ? read_count(*value, 1) : absent;
}

/// Manifests of plain meshes name only dp and tp.
Mesh read_mesh(JsonReader const& json) {
    Mesh const mesh = {.pp = read_count_or(json, "pp", 1),
                       .dp = read_count(json["dp"], 1),
                       .fsdp = read_count_or(json, "fsdp", 1),
                       .tp = read_count(json["tp"], 1),
                       .ep = read_count_or(json, "ep", 0)};
    try {
        check(mesh);
    } catch (Error const& error) { json.refuse(error.what()); }
    return mesh;
}

MeshAxis read_axis(JsonReader const& json) {
    auto const value = json.find("axis");
    if (!value) { return MeshAxis::tp; }
    for (auto const axis : {MeshAxis::tp, MeshAxis::fsdp, MeshAxis::ep, MeshAxis::efsdp}) {
        if (value->text() == to_string(axis)) { return axis; }
    }
    value->refuse(fmt::format("unknown axis '{}'", value->text()));
}

Placement::Kind read_kind(JsonReader const& json) {
    auto const kind = json["kind"].text();
    for (auto const known :
         {Placement::Kind::replicate, Placement::Kind::shard, Placement::Kind::packed, Placement::Kind::expert}) {
        if (kind == to_string(known)) { return known; }
    }
    json["kind"].refuse(fmt::format("unknown kind '{}'", kind));
}

/// @param shape of the tensor.
/// @param cuts those before.
Placement::AxisCut read_cut(JsonReader const& json, Shape const& shape, Mesh const& mesh,
                            std::vector<Placement::AxisCut> const& cuts) {
    Placement::AxisCut cut{read_kind(json), 0, {}, read_axis(json)};
    if (cut.kind == Placement::Kind::replicate) { json.refuse("expected a cut"); }
    auto const dim = json["dim"].integer();
    if (dim < 0 || dim >= static_cast<std::int64_t>(shape.rank())) { json.refuse("the tensor has no such dimension"); }
    cut.dim = static_cast<std::uint32_t>(dim);
    for (auto const& before : cuts) {
        if (before.axis == cut.axis) { json.refuse(fmt::format("{} cuts it already", to_string(cut.axis))); }
        if (before.dim == cut.dim && json.find("blocks")) { json.refuse("blocks of a dimension that is cut already"); }
    }
    auto const blocks = json.find("blocks");
    if (!blocks) { return cut; }
    std::int64_t held = 0;
    for (auto const& block : blocks->array()) {
        auto const size = read_count(block["size"], 0);
        cut.blocks.push_back({size, read_count(block["parts"], 1), read_count(block["repeat"], 1)});
        if (__builtin_add_overflow(held, size, &held)) { block.refuse("the sizes overflow"); }
        auto const ranks = cut.blocks.back().parts * cut.blocks.back().repeat;
        if (ranks != mesh.size(cut.axis)) {
            block.refuse(fmt::format("made for {} ranks, {} has {}", ranks, to_string(cut.axis), mesh.size(cut.axis)));
        }
    }
    auto const extent = shape[cut.dim];
    if (held != extent) { json.refuse(fmt::format("the blocks hold {}, the dimension has {}", held, extent)); }
    return cut;
}

std::vector<std::int64_t> read_stages(JsonReader const& json, Mesh const& mesh) {
    std::vector<std::int64_t> stages;
    for (auto const& stage : json.array()) {
        auto const number = stage.integer();
        bool const is_next = number >= 0 && number < mesh.pp && (stages.empty() || number > stages.back());
        if (!is_next) { stage.refuse(fmt::format("expected stages below {} in ascending order", mesh.pp)); }
        stages.push_back(number);
    }
    return stages;
}

/// @param shape of the tensor.
Placement read_placement(JsonReader const& json, Shape const& shape, Mesh const& mesh) {
    Placement placement;
    if (read_kind(json) != Placement::Kind::replicate) {
        placement.cuts.push_back(read_cut(json, shape, mesh, placement.cuts));
    }
    if (auto const more = json.find("then")) {
        for (auto const& cut : more->array()) { placement.cuts.push_back(read_cut(cut, shape, mesh, placement.cuts)); }
    }
    if (auto const stages = json.find("stages")) { placement.stages = read_stages(*stages, mesh); }
    return placement;
}

PlannedTensor read_tensor(std::string const& name, JsonReader const& json, Mesh const& mesh) {
    PlannedTensor tensor;
    tensor.name = name;
    auto const dtype = parse_dtype(json["dtype"].text());
    if (!dtype) { json["dtype"].refuse("unknown dtype"); }
    tensor.dtype = *dtype;
    std::vector<std::int64_t> extents;
    for (auto const& extent : json["shape"].array()) { extents.push_back(read_count(extent, 0)); }
    tensor.global_shape = Shape(extents);
    tensor.placement = read_placement(json["placement"], tensor.global_shape, mesh);
    return tensor;
}

RankFormat read_format(JsonReader const& json) {
    auto const name = json.text();
    for (auto const format : kRankFormats) {
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
    manifest.mesh = read_mesh(json["mesh"]);
    manifest.format = read_format(json["format"]);
    manifest.files = json["files"].texts();
    if (static_cast<std::int64_t>(manifest.files.size()) != manifest.mesh.world()) {
        json["files"].refuse("expected one file a rank");
    }
    for (auto const& name : json["files"].array()) { read_file_name(name); }
    if (auto const digest = json.find("source_digest")) { manifest.source_digest = digest->text(); }
    if (auto const source = json.find("source")) { manifest.source = read_source(*source); }
    for (auto const& [name, tensor] : json["tensors"].members()) {
        manifest.tensors.emplace(name, read_tensor(name, tensor, manifest.mesh));
    }
    return manifest;
}

}  // namespace shardwise
