#include "mapping/held_config.hpp"

#include <array>

#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

using Json = nlohmann::ordered_json;

/// Sub-configurations of sub-configurations: models have three levels, a file may be hostile.
constexpr int kMaxDepth = 8;

constexpr std::array kTypeKeys = {"dtype", "torch_dtype"};
constexpr char const* kQuantization = "quantization_config";

/// As torch calls it; empty for a type that models are not held in.
std::string torch_name(DType dtype) {
    switch (dtype) {
        case DType::f64:
            return "float64";
        case DType::f32:
            return "float32";
        case DType::f16:
            return "float16";
        case DType::bf16:
            return "bfloat16";
        case DType::f8_e4m3:
            return "float8_e4m3fn";
        case DType::f8_e5m2:
            return "float8_e5m2";
        default:
            return {};
    }
}

void change(Json& config, std::string const& type, bool is_dequantized, int depth) {
    for (auto const* const key : kTypeKeys) {
        if (!type.empty() && config.contains(key)) { config[key] = type; }
    }
    if (is_dequantized) { config.erase(kQuantization); }
    if (depth == kMaxDepth) { return; }
    for (auto& [key, value] : config.items()) {
        bool const is_sub_config = value.is_object() && key.ends_with("_config") && key != kQuantization;
        if (is_sub_config) { change(value, type, is_dequantized, depth + 1); }
    }
}

}  // namespace

std::string held_config(std::string const& json, HeldTypes const& held) {
    if (json.empty()) { return json; }
    auto const before = Json::parse(json, nullptr, false);
    if (!before.is_object()) { throw Error(Errc::input, "config.json is not a JSON object"); }
    auto after = before;
    auto const type = held.dtype ? torch_name(*held.dtype) : std::string();
    change(after, type, held.is_dequantized, 0);
    if (!type.empty() && !after.contains(kTypeKeys[0]) && !after.contains(kTypeKeys[1])) { after[kTypeKeys[0]] = type; }
    return after == before ? json : after.dump(2) + "\n";
}

std::string quantized_config(std::string const& json, BlockQuantization const& quantization) {
    if (json.empty()) { return json; }
    auto config = Json::parse(json, nullptr, false);
    if (!config.is_object()) { throw Error(Errc::input, "config.json is not a JSON object"); }
    if (config.contains(kQuantization)) {
        throw Error(Errc::input,
                    "--quantize: config.json says that the model is quantized already (quantization_config)");
    }
    config[kQuantization] = {{"quant_method", "fp8"},
                             {"fmt", "e4m3"},
                             {"activation_scheme", "dynamic"},
                             {"weight_block_size", {quantization.block_rows, quantization.block_columns}},
                             {"modules_to_not_convert", quantization.modules_left_alone}};
    return config.dump(2) + "\n";
}

}  // namespace shardwise
