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

Placement read_placement(JsonReader const& json) {
    constexpr std::array kKinds = {Placement::Kind::replicate, Placement::Kind::shard, Placement::Kind::packed,
                                   Placement::Kind::expert};
    auto const kind = json["kind"].text();
    for (auto const known : kKinds) {
        if (kind != to_string(known)) { continue; }
        Placement placement{known, 0, {}};
        if (known == Placement::Kind::replicate) { return placement; }
        placement.dim = static_cast<std::uint32_t>(json["dim"].integer());
        for (auto const& block : json["blocks"].array()) {
            placement.blocks.push_back({block["size"].integer(), block["parts"].integer(), block["repeat"].integer()});
            if (placement.blocks.back().parts < 1 || placement.blocks.back().repeat < 1) {
                block.refuse("parts and repeat count from 1");
            }
        }
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
    for (auto const& extent : json["shape"].array()) { extents.push_back(extent.integer()); }
    tensor.global_shape = Shape(extents);
    tensor.placement = read_placement(json["placement"]);
    if (tensor.placement.kind != Placement::Kind::replicate && tensor.placement.dim >= extents.size()) {
        json["placement"].refuse("the tensor has no such dimension");
    }
    return tensor;
}

}  // namespace

std::string manifest_path(std::string const& folder) {
    return (std::filesystem::path(folder) / "shardwise.json").string();
}

bool has_manifest(std::string const& folder) { return std::filesystem::exists(manifest_path(folder)); }

Manifest read_manifest(std::string const& folder) {
    auto const path = manifest_path(folder);
    auto const document = parse_json(read_text(path), path);
    JsonReader const json(document, path);
    if (json["schema"].text() != "shardwise.manifest/1") { json["schema"].refuse("expected shardwise.manifest/1"); }
    Manifest manifest;
    manifest.mesh = {json["mesh"]["dp"].integer(), json["mesh"]["tp"].integer()};
    manifest.format = json["format"].text();
    manifest.files = json["files"].texts();
    if (static_cast<std::int64_t>(manifest.files.size()) != manifest.mesh.world()) {
        json["files"].refuse("expected one file a rank");
    }
    for (auto const& [name, tensor] : json["tensors"].members()) {
        manifest.tensors.emplace(name, read_tensor(name, tensor));
    }
    return manifest;
}

}  // namespace shardwise
