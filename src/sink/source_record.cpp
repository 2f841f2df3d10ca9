#include "sink/source_record.hpp"

#include <algorithm>
#include <filesystem>
#include <tuple>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

#include "catalog/safetensors.hpp"
#include "mapping/architecture_data.hpp"
#include "mapping/parameters.hpp"
#include "plan/mapping_options.hpp"
#include "plan/parameter_digest.hpp"

namespace shardwise {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The tensors of each file in the order of their data.
std::vector<std::vector<TensorRecord const*>> by_file(Catalog const& catalog) {
    std::vector<std::vector<TensorRecord const*>> files(catalog.files().size());
    for (auto const& tensor : catalog.tensors()) { files[tensor.file].push_back(&tensor); }
    for (auto& tensors : files) {
        std::stable_sort(tensors.begin(), tensors.end(), [](auto const* a, auto const* b) {
            return std::tie(a->begin, a->size_bytes) < std::tie(b->begin, b->size_bytes);
        });
    }
    return files;
}

TensorRecord read_tensor(JsonReader const& json) {
    auto const fields = json.array();
    if (fields.size() != 3) { json.refuse("expected name, dtype and shape"); }
    TensorRecord tensor;
    tensor.name = fields[0].text();
    auto const dtype = parse_dtype(fields[1].text());
    if (!dtype) { fields[1].refuse("unknown dtype"); }
    tensor.dtype = *dtype;
    std::vector<std::int64_t> extents;
    for (auto const& extent : fields[2].array()) {
        extents.push_back(extent.integer());
        if (extents.back() < 0) { extent.refuse("expected a whole number from 0 up"); }
    }
    try {
        tensor.shape = Shape(extents);
        tensor.size_bytes = stored_bytes(tensor.dtype, tensor.shape);
    } catch (Error const& error) { fields[2].refuse(error.what()); }
    return tensor;
}

Catalog read_catalog(JsonReader const& json) {
    Catalog::Parts parts;
    parts.config_json = json["config"].text();
    parts.index_name = json["index"].text();
    if (!parts.index_name.empty()) { read_file_name(json["index"]); }
    for (auto const& file : json["files"].array()) {
        FileRecord record;
        record.path = read_file_name(file["name"]);
        record.metadata = file["metadata"].text_members();
        for (auto const& entry : file["tensors"].array()) {
            auto tensor = read_tensor(entry);
            tensor.file = static_cast<std::uint32_t>(parts.files.size());
            tensor.begin = record.size_bytes;
            if (__builtin_add_overflow(record.size_bytes, tensor.size_bytes, &record.size_bytes)) {
                entry.refuse("the sizes overflow");
            }
            parts.tensors.push_back(std::move(tensor));
        }
        parts.files.push_back(std::move(record));
    }
    Catalog catalog(std::move(parts));
    auto const tensors = catalog.tensors();
    auto const twice = std::adjacent_find(tensors.begin(), tensors.end(),
                                          [](auto const& a, auto const& b) { return a.name == b.name; });
    if (twice != tensors.end()) { json["files"].refuse(fmt::format("{} stands there twice", twice->name)); }
    return catalog;
}

bool read_kv_heads(JsonReader const& json) {
    auto const word = json.text();
    if (word != "cut" && word != "replicate") { json.refuse("expected cut or replicate"); }
    return word == "replicate";
}

}  // namespace

std::string read_file_name(JsonReader const& json) {
    auto const name = json.text();
    bool const is_plain = fs::path(name).filename() == name && !name.empty() && name != "." && name != "..";
    if (!is_plain) { json.refuse("expected a plain file name"); }
    return name;
}

SourceRecord record_source(Catalog const& catalog, Architecture const& architecture, PlanOptions const& options) {
    auto const parameters = map_parameters(catalog, architecture, mapping_options(options));
    return {catalog, architecture.describe(), options, digest_of(parameters.list)};
}

std::string source_json(SourceRecord const& source) {
    auto const& options = source.options;
    Json json = {
        {"index", source.catalog.index_name()},
        {"config", source.catalog.config_json()},
        {"architecture", source.architecture},
        {"plan", options.plan},
        {"kv_heads", options.replicate_kv_heads ? "replicate" : "cut"},
        {"include", options.include},
        {"exclude", options.exclude},
        {"expected", to_json(options.expected)},
        {"dtype", options.dtype ? to_string(*options.dtype) : "stored"},
        {"dequantizes", options.dequantizes},
        {"parameters_digest", source.parameters_digest},
        {"files", Json::array()},
    };
    auto const tensors_of = by_file(source.catalog);
    for (std::size_t file = 0; file < tensors_of.size(); ++file) {
        auto const& record = source.catalog.files()[file];
        Json tensors = Json::array();
        for (auto const* tensor : tensors_of[file]) {
            tensors.push_back({tensor->name, to_string(tensor->dtype),
                               std::vector<std::int64_t>(tensor->shape.begin(), tensor->shape.end())});
        }
        json["files"].push_back({{"name", fs::path(record.path).filename().string()},
                                 {"metadata", record.metadata},
                                 {"tensors", std::move(tensors)}});
    }
    return json.dump();
}

SourceRecord read_source(JsonReader const& json) {
    PlanOptions options;
    options.plan = json["plan"].text();
    options.replicate_kv_heads = read_kv_heads(json["kv_heads"]);
    options.include = json["include"].texts();
    options.exclude = json["exclude"].texts();
    if (auto const dtype = json["dtype"].text(); dtype != "stored") {
        options.dtype = parse_dtype(dtype);
        if (!options.dtype) { json["dtype"].refuse("unknown dtype"); }
    }
    options.dequantizes = json["dequantizes"].boolean();
    auto const expected = json["expected"];
    options.expected = parse_expectation(expected.text(), expected.path());
    return {read_catalog(json), json["architecture"].text(), std::move(options), json["parameters_digest"].text()};
}

}  // namespace shardwise
