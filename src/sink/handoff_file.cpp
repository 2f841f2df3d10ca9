#include "sink/handoff_file.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

#include "catalog/safetensors.hpp"
#include "util/json_reader.hpp"

namespace shardwise {
namespace {

constexpr char const* kSchema = "shardwise.handoff/1";

std::string to_hex(MemoryHandle const& handle) {
    std::string text;
    for (auto const byte : handle) { text += fmt::format("{:02x}", static_cast<unsigned>(byte)); }
    return text;
}

MemoryHandle read_handle(JsonReader const& json) {
    auto const text = json.text();
    MemoryHandle handle = {};
    bool const is_hex =
        text.size() == 2 * handle.size() && text.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!is_hex) { json.refuse(fmt::format("expected {} hexadecimal digits", 2 * handle.size())); }
    for (std::size_t i = 0; i < handle.size(); ++i) {
        handle[i] = static_cast<std::byte>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
    }
    return handle;
}

std::uint64_t read_size(JsonReader const& json) {
    auto const value = json.integer();
    if (value < 0) { json.refuse("expected a number from 0 up"); }
    return static_cast<std::uint64_t>(value);
}

PlannedTensor read_tensor(JsonReader const& json, std::uint64_t memory_bytes) {
    json.allow_only({"name", "dtype", "shape", "offset", "tied"});
    PlannedTensor tensor;
    tensor.name = json["name"].text();
    auto const dtype = parse_dtype(json["dtype"].text());
    if (!dtype) { json["dtype"].refuse("unknown dtype"); }
    tensor.dtype = *dtype;
    std::vector<std::int64_t> extents;
    for (auto const& extent : json["shape"].array()) {
        extents.push_back(static_cast<std::int64_t>(read_size(extent)));
    }
    try {
        tensor.local_shape = Shape(extents);
        tensor.size_bytes = stored_bytes(tensor.dtype, tensor.local_shape);
    } catch (Error const& error) { json["shape"].refuse(error.what()); }
    tensor.store_offset = read_size(json["offset"]);
    bool const fits = tensor.store_offset <= memory_bytes && tensor.size_bytes <= memory_bytes - tensor.store_offset;
    if (!fits) {
        json.refuse(
            fmt::format("its {} B at {} do not lie in {} B", tensor.size_bytes, tensor.store_offset, memory_bytes));
    }
    if (auto const tied = json.find("tied")) { tensor.aliases = tied->texts(); }
    return tensor;
}

}  // namespace

std::string to_json(HandoffFile const& handoff) {
    nlohmann::ordered_json json = {
        {"schema", kSchema},           {"rank", handoff.rank},
        {"gpu", handoff.gpu_uuid},     {"handle", to_hex(handoff.handle)},
        {"bytes", handoff.size_bytes}, {"tensors", nlohmann::ordered_json::array()},
    };
    for (auto const& tensor : handoff.tensors) {
        nlohmann::ordered_json entry = {
            {"name", tensor.name},
            {"dtype", to_string(tensor.dtype)},
            {"shape", std::vector<std::int64_t>(tensor.local_shape.begin(), tensor.local_shape.end())},
            {"offset", tensor.store_offset},
        };
        if (!tensor.aliases.empty()) { entry["tied"] = tensor.aliases; }
        json["tensors"].push_back(std::move(entry));
    }
    return json.dump(1) + "\n";
}

HandoffFile parse_handoff(std::string const& text, std::string const& path) {
    auto const document = parse_json(text, path);
    JsonReader const json(document, path);
    if (json["schema"].text() != kSchema) { json["schema"].refuse(fmt::format("expected {}", kSchema)); }
    HandoffFile handoff;
    handoff.rank = static_cast<std::int64_t>(read_size(json["rank"]));
    handoff.gpu_uuid = json["gpu"].text();
    handoff.handle = read_handle(json["handle"]);
    handoff.size_bytes = read_size(json["bytes"]);
    for (auto const& tensor : json["tensors"].array()) {
        handoff.tensors.push_back(read_tensor(tensor, handoff.size_bytes));
    }
    return handoff;
}

}  // namespace shardwise
