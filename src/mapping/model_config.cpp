#include "mapping/model_config.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

/// Sub-configurations of sub-configurations: models have three levels, a file may be hostile.
constexpr int kMaxDepth = 8;

std::optional<DType> dtype_of(nlohmann::json const& object) {
    for (auto const* const key : {"dtype", "torch_dtype"}) {
        auto const found = object.find(key);
        if (found == object.end()) { continue; }
        if (*found == "bfloat16") { return DType::bf16; }
        if (*found == "float16") { return DType::f16; }
        if (*found == "float32") { return DType::f32; }
    }
    return std::nullopt;
}

/// [rows, columns] of at least one each; nothing else is a size of blocks.
std::optional<BlockSize> block_of(nlohmann::json const& quantization) {
    auto const found = quantization.find("weight_block_size");
    bool const is_pair = found != quantization.end() && found->is_array() && found->size() == 2 &&
                         (*found)[0].is_number_integer() && (*found)[1].is_number_integer();
    if (!is_pair) { return std::nullopt; }
    BlockSize const size = {(*found)[0].get<std::int64_t>(), (*found)[1].get<std::int64_t>()};
    return size.rows > 0 && size.columns > 0 ? std::optional(size) : std::nullopt;
}

nlohmann::json parse_object(std::string const& json) {
    if (json.empty()) { return nlohmann::json::object(); }
    auto document = nlohmann::json::parse(json, nullptr, false);
    if (!document.is_object()) { throw Error(Errc::input, "config.json is not a JSON object"); }
    return document;
}

}  // namespace

ModelConfig::ModelConfig(std::string const& json) : ModelConfig(parse_object(json), 0) {}

ModelConfig::ModelConfig(nlohmann::json const& document, int depth) {
    auto const take_sizes = [&](nlohmann::json const& object, std::string const& prefix) {
        for (auto const& [key, value] : object.items()) {
            if (value.is_number_integer()) { sizes_.emplace(prefix + key, value.get<std::int64_t>()); }
            if (value.is_boolean()) { sizes_.emplace(prefix + key, value.get<bool>() ? 1 : 0); }
            if (!value.is_array()) { continue; }
            auto& list = lists_[prefix + key];
            for (auto const& entry : value) {
                if (entry.is_number_integer()) { list.insert(entry.get<std::int64_t>()); }
            }
        }
    };
    take_sizes(document, "");
    for (auto const& [key, value] : document.items()) {
        if (!value.is_object()) { continue; }
        take_sizes(value, key + ".");
        if (depth == kMaxDepth) { continue; }
        sub_names_.push_back(key);
        subs_.push_back(ModelConfig(value, depth + 1));
    }
    if (auto const text = document.find("text_config"); text != document.end() && text->is_object()) {
        take_sizes(*text, "");
    }

    if (auto const type = document.find("model_type"); type != document.end() && type->is_string()) {
        model_type_ = type->get<std::string>();
    }
    if (auto const quantized = document.find("quantization_config");
        quantized != document.end() && quantized->is_object()) {
        auto const method = quantized->find("quant_method");
        bool const is_named = method != quantized->end() && method->is_string();
        quantization_ = is_named ? method->get<std::string>() : "unknown means";
        block_ = block_of(*quantized);
    }
    auto const classes = document.find("architectures");
    if (classes != document.end() && classes->is_array() && !classes->empty() && classes->front().is_string()) {
        model_class_ = classes->front().get<std::string>();
    }
    dtype_ = dtype_of(document);
    if (auto const text = document.find("text_config"); !dtype_ && text != document.end()) { dtype_ = dtype_of(*text); }
    auto const tie = document.find("tie_word_embeddings");
    unties_embeddings_ = tie != document.end() && tie->is_boolean() && !tie->get<bool>();
}

ModelConfig const& ModelConfig::sub(std::string const& name) const {
    auto const found = std::find(sub_names_.begin(), sub_names_.end(), name);
    return found == sub_names_.end() ? *this : subs_[static_cast<std::size_t>(found - sub_names_.begin())];
}

bool ModelConfig::contains(std::string const& name, std::int64_t number) const {
    auto const found = lists_.find(name);
    return found != lists_.end() && found->second.contains(number);
}

std::optional<std::int64_t> ModelConfig::size(std::string const& name) const {
    auto const found = sizes_.find(name);
    if (found == sizes_.end()) { return std::nullopt; }
    return found->second;
}

}  // namespace shardwise
