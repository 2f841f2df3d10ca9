/// @file
/// The tensors that checkpoints of some architectures hold: real names, shapes from a few sizes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <shardwise/shape.hpp>

namespace shardwise::bench {

struct ModelSizes {
    std::string model_type = "llama";  ///< llama, qwen2, mixtral, qwen3_moe, phi3 or gpt_oss
    std::int64_t layers = 2;
    std::int64_t hidden = 64;
    std::int64_t intermediate = 96;    ///< of one expert in mixture models
    std::int64_t heads = 4;
    std::int64_t kv_heads = 2;
    std::int64_t head_dim = 16;
    std::int64_t vocabulary = 128;
    std::int64_t experts = 8;
    bool is_tied = false;              ///< no lm_head of its own
};

/// Sizes by name: tiny, llama-1b (Llama-3.2-1B), moe-5gb (many small experts).
/// @throws Error usage naming the known ones.
ModelSizes sizes_of_preset(std::string const& name);

struct ModelTensor {
    std::string name;
    Shape shape;
};

/// Every stored tensor, in the order of the model's modules.
/// @throws Error usage naming the known model types.
std::vector<ModelTensor> tensors_of(ModelSizes const& sizes);

/// Text of config.json.
std::string config_of(ModelSizes const& sizes, std::string const& dtype);

}  // namespace shardwise::bench
