#include "sink/safetensors_writer.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include <nlohmann/json.hpp>

#include "util/checked.hpp"

namespace shardwise {

std::string safetensors_header(std::span<TensorEntry const> tensors, std::map<std::string, std::string> const& metadata,
                               std::uint64_t alignment) {
    constexpr std::size_t kLengthField = sizeof(std::uint64_t);
    nlohmann::ordered_json document = nlohmann::ordered_json::object();
    if (!metadata.empty()) { document["__metadata__"] = metadata; }
    // Names differ; looking for each among the others would take seconds for tens of thousands of them.
    auto& members = document.get_ref<nlohmann::ordered_json::object_t&>();
    std::uint64_t begin = 0;
    for (auto const& tensor : tensors) {
        nlohmann::ordered_json entry = {
            {"dtype", to_string(tensor.dtype)},
            {"shape", std::vector<std::int64_t>(tensor.shape.begin(), tensor.shape.end())},
            {"data_offsets", {begin, begin + tensor.size_bytes}},
        };
        members.emplace_back(tensor.name, std::move(entry));
        begin += tensor.size_bytes;
    }
    auto json = document.dump();
    json.resize(align_up(kLengthField + json.size(), alignment) - kLengthField, ' ');
    std::uint64_t const length = json.size();
    std::string header(kLengthField, '\0');
    std::memcpy(header.data(), &length, kLengthField);
    return header + json;
}

std::vector<std::size_t> safetensors_order(std::span<TensorEntry const> tensors) {
    std::vector<std::size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        int const bits_a = bits(tensors[a].dtype);
        int const bits_b = bits(tensors[b].dtype);
        return bits_a != bits_b ? bits_a > bits_b : tensors[a].name < tensors[b].name;
    });
    return order;
}

}  // namespace shardwise
