/// @file
/// config.json for tensors that are no longer stored as it says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <shardwise/dtype.hpp>

namespace shardwise {

struct HeldTypes {
    std::optional<DType> dtype;   ///< in which the model was asked to be held
    bool is_dequantized = false;  ///< quantized tensors are numbers now
};

/// @p json as transformers would write it beside such tensors: `dtype` (`torch_dtype` in older files) is the type that
/// was asked for, in sub-configurations that state one, too; without `quantization_config` if there is nothing
/// quantized any more. Everything else stays, in its order. Text that needs no change, and empty text, stays as it is.
/// @throws Error input if @p json is no object.
std::string held_config(std::string const& json, HeldTypes const& held);

/// How parameters were quantized to F8_E4M3 with a scale a block.
struct BlockQuantization {
    std::uint64_t block_rows = 128;
    std::uint64_t block_columns = 128;
    std::vector<std::string> modules_left_alone;
};

/// @p json with the `quantization_config` of such parameters, as transformers reads it. Empty text stays empty.
/// @throws Error input if @p json is no object, or states a quantization already.
std::string quantized_config(std::string const& json, BlockQuantization const& quantization);

}  // namespace shardwise
