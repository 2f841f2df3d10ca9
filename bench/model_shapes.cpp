#include "model_shapes.hpp"

#include <functional>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

namespace shardwise::bench {
namespace {

/// Collects tensors below a module path.
class Module {
   public:
    Module(std::vector<ModelTensor>& tensors, std::string path) : tensors_(tensors), path_(std::move(path)) {}

    void add(std::string const& name, Shape const& shape) const {
        tensors_.push_back({fmt::format("{}.{}", path_, name), shape});
    }
    Module below(std::string const& name) const { return {tensors_, fmt::format("{}.{}", path_, name)}; }

   private:
    std::vector<ModelTensor>& tensors_;
    std::string path_;
};

void add_linear(Module const& module, std::string const& name, Shape const& shape, bool has_bias) {
    module.add(name + ".weight", shape);
    if (has_bias) { module.add(name + ".bias", {shape[0]}); }
}

void add_attention(Module const& layer, ModelSizes const& sizes, bool has_bias) {
    auto const attention = layer.below("self_attn");
    add_linear(attention, "q_proj", {sizes.heads * sizes.head_dim, sizes.hidden}, has_bias);
    add_linear(attention, "k_proj", {sizes.kv_heads * sizes.head_dim, sizes.hidden}, has_bias);
    add_linear(attention, "v_proj", {sizes.kv_heads * sizes.head_dim, sizes.hidden}, has_bias);
    attention.add("o_proj.weight", {sizes.hidden, sizes.heads * sizes.head_dim});
}

void add_mlp(Module const& mlp, ModelSizes const& sizes, std::vector<std::string> const& gate_up_down) {
    mlp.add(gate_up_down[0] + ".weight", {sizes.intermediate, sizes.hidden});
    mlp.add(gate_up_down[1] + ".weight", {sizes.intermediate, sizes.hidden});
    mlp.add(gate_up_down[2] + ".weight", {sizes.hidden, sizes.intermediate});
}

void add_experts(Module const& mixture, ModelSizes const& sizes, std::vector<std::string> const& gate_up_down) {
    mixture.add("gate.weight", {sizes.experts, sizes.hidden});
    for (std::int64_t expert = 0; expert < sizes.experts; ++expert) {
        add_mlp(mixture.below(fmt::format("experts.{}", expert)), sizes, gate_up_down);
    }
}

std::vector<std::string> const kProjections = {"gate_proj", "up_proj", "down_proj"};

void add_llama_layer(Module const& layer, ModelSizes const& sizes) {
    add_attention(layer, sizes, false);
    add_mlp(layer.below("mlp"), sizes, kProjections);
}

void add_qwen2_layer(Module const& layer, ModelSizes const& sizes) {
    add_attention(layer, sizes, true);
    add_mlp(layer.below("mlp"), sizes, kProjections);
}

void add_mixtral_layer(Module const& layer, ModelSizes const& sizes) {
    add_attention(layer, sizes, false);
    add_experts(layer.below("block_sparse_moe"), sizes, {"w1", "w3", "w2"});
}

void add_qwen3_moe_layer(Module const& layer, ModelSizes const& sizes) {
    add_attention(layer, sizes, false);
    layer.add("self_attn.q_norm.weight", {sizes.head_dim});
    layer.add("self_attn.k_norm.weight", {sizes.head_dim});
    add_experts(layer.below("mlp"), sizes, kProjections);
}

void add_phi3_layer(Module const& layer, ModelSizes const& sizes) {
    layer.add("self_attn.qkv_proj.weight", {(sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim, sizes.hidden});
    layer.add("self_attn.o_proj.weight", {sizes.hidden, sizes.heads * sizes.head_dim});
    layer.add("mlp.gate_up_proj.weight", {2 * sizes.intermediate, sizes.hidden});
    layer.add("mlp.down_proj.weight", {sizes.hidden, sizes.intermediate});
}

void add_gpt_oss_layer(Module const& layer, ModelSizes const& sizes) {
    add_attention(layer, sizes, true);
    layer.add("self_attn.o_proj.bias", {sizes.hidden});
    layer.add("self_attn.sinks", {sizes.heads});
    layer.add("mlp.router.weight", {sizes.experts, sizes.hidden});
    layer.add("mlp.router.bias", {sizes.experts});
    layer.add("mlp.experts.gate_up_proj", {sizes.experts, sizes.hidden, 2 * sizes.intermediate});
    layer.add("mlp.experts.gate_up_proj_bias", {sizes.experts, 2 * sizes.intermediate});
    layer.add("mlp.experts.down_proj", {sizes.experts, sizes.intermediate, sizes.hidden});
    layer.add("mlp.experts.down_proj_bias", {sizes.experts, sizes.hidden});
}

struct Family {
    char const* model_class;
    std::function<void(Module const&, ModelSizes const&)> add_layer;
};

std::map<std::string, Family> const& families() {
    static std::map<std::string, Family> const known = {
        {"llama", {"LlamaForCausalLM", add_llama_layer}},
        {"qwen2", {"Qwen2ForCausalLM", add_qwen2_layer}},
        {"mixtral", {"MixtralForCausalLM", add_mixtral_layer}},
        {"qwen3_moe", {"Qwen3MoeForCausalLM", add_qwen3_moe_layer}},
        {"phi3", {"Phi3ForCausalLM", add_phi3_layer}},
        {"gpt_oss", {"GptOssForCausalLM", add_gpt_oss_layer}},
    };
    return known;
}

/// The entry of that name, or an error that lists the names.
template <class Map>
auto const& entry_of(Map const& map, std::string const& what, std::string const& name) {
    auto const found = map.find(name);
    if (found != map.end()) { return found->second; }
    std::vector<std::string> known;
    for (auto const& [key, value] : map) { known.push_back(key); }
    throw Error(Errc::usage, fmt::format("unknown {} '{}'; there are {}", what, name, fmt::join(known, ", ")));
}

}  // namespace

ModelSizes sizes_of_preset(std::string const& name) {
    static std::map<std::string, ModelSizes> const known = {
        {"tiny", {}},
        {"llama-1b", {"llama", 16, 2048, 8192, 32, 8, 64, 128256, 0, true}},
        {"moe-5gb", {"qwen3_moe", 12, 1024, 512, 16, 4, 64, 32000, 128, false}},
    };
    return entry_of(known, "preset", name);
}

std::vector<ModelTensor> tensors_of(ModelSizes const& sizes) {
    auto const& family = entry_of(families(), "model type", sizes.model_type);
    std::vector<ModelTensor> tensors;
    Module const model(tensors, "model");
    model.add("embed_tokens.weight", {sizes.vocabulary, sizes.hidden});
    for (std::int64_t i = 0; i < sizes.layers; ++i) {
        auto const layer = model.below(fmt::format("layers.{}", i));
        layer.add("input_layernorm.weight", {sizes.hidden});
        family.add_layer(layer, sizes);
        layer.add("post_attention_layernorm.weight", {sizes.hidden});
    }
    model.add("norm.weight", {sizes.hidden});
    if (!sizes.is_tied) { tensors.push_back({"lm_head.weight", {sizes.vocabulary, sizes.hidden}}); }
    return tensors;
}

std::string config_of(ModelSizes const& sizes, std::string const& dtype) {
    nlohmann::ordered_json const config = {
        {"architectures", {entry_of(families(), "model type", sizes.model_type).model_class}},
        {"model_type", sizes.model_type},
        {"dtype", dtype},
        {"hidden_size", sizes.hidden},
        {"intermediate_size", sizes.intermediate},
        {"moe_intermediate_size", sizes.intermediate},
        {"num_hidden_layers", sizes.layers},
        {"num_attention_heads", sizes.heads},
        {"num_key_value_heads", sizes.kv_heads},
        {"head_dim", sizes.head_dim},
        {"num_experts", sizes.experts},
        {"num_local_experts", sizes.experts},
        {"vocab_size", sizes.vocabulary},
        {"tie_word_embeddings", sizes.is_tied},
    };
    return config.dump(2) + "\n";
}

}  // namespace shardwise::bench
