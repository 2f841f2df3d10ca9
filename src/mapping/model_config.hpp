/// @file
/// What shardwise takes from a checkpoint's config.json.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <shardwise/block_grid.hpp>
#include <shardwise/dtype.hpp>

namespace shardwise {

/// The few facts of config.json that mapping needs. Sizes are whole numbers, or 1 and 0 for true and false, found at
/// the top or in "text_config", and those of every sub-configuration by its name: "vision_config.num_attention_heads".
class ModelConfig {
   public:
    ModelConfig() = default;

    /// @throws Error input when @p json is not an object. Empty text is an empty configuration.
    explicit ModelConfig(std::string const& json);

    /// Empty if not stated.
    std::string const& model_type() const noexcept { return model_type_; }

    /// First entry of "architectures"; empty if not stated.
    std::string const& model_class() const noexcept { return model_class_; }

    /// True if "tie_word_embeddings" is stated to be false. Where nothing is stated the model's class decides, which
    /// is not known here: Gemma ties, and its published configurations do not say so.
    bool unties_embeddings() const noexcept { return unties_embeddings_; }

    /// "quant_method" of "quantization_config"; empty if the model is not quantized.
    std::string const& quantization() const noexcept { return quantization_; }

    /// "weight_block_size" of "quantization_config", rows and columns; nothing if not stated.
    std::optional<BlockSize> const& block() const noexcept { return block_; }

    /// "dtype" or "torch_dtype", at the top or in "text_config"; nothing if not stated or no floating-point type.
    std::optional<DType> dtype() const noexcept { return dtype_; }

    std::optional<std::int64_t> size(std::string const& name) const;

    /// Whether the list @p name has @p number among its entries; a list that is not stated has none.
    bool contains(std::string const& name, std::int64_t number) const;

    /// The sub-configuration @p name ("text_config"), as a configuration of its own. Where there is none this one
    /// itself: older files state the fields of a part beside those of the whole.
    ModelConfig const& sub(std::string const& name) const;

   private:
    ModelConfig(nlohmann::json const& document, int depth);

    std::string model_type_;
    std::string model_class_;
    std::string quantization_;
    std::optional<BlockSize> block_;
    bool unties_embeddings_ = false;
    std::optional<DType> dtype_;
    std::map<std::string, std::int64_t> sizes_;
    std::map<std::string, std::set<std::int64_t>> lists_;
    std::vector<std::string> sub_names_;
    std::vector<ModelConfig> subs_;  ///< one a name
};

}  // namespace shardwise
