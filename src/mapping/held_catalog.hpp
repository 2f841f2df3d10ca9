/// @file
/// A checkpoint as it is after a load that changed values: what the way back writes.
#pragma once

#include <shardwise/catalog.hpp>

#include "mapping/parameters.hpp"

namespace shardwise {

/// A checkpoint and what the rules make of it.
struct HeldCheckpoint {
    Catalog catalog;
    Parameters parameters;    ///< made of tensors of this catalog, whose bytes are moved as they are
    bool is_changed = false;  ///< from the one that was loaded
};

/// The checkpoint that would have given the parameters of a load without any change of values: stored tensors have the
/// types in which they are held. Dequantized ones are plain numbers under the name that rules see (X of X_blocks),
/// their scales are gone. config.json goes with them: no `quantization_config` where codes were dequantized, and the
/// type that was asked for under `dtype` and `torch_dtype`. Files, and the places of tensors in them, are those of
/// @p catalog.
/// @param parameters what map_parameters made of all three.
/// @throws Error input naming a parameter that the rules make otherwise when they are given numbers in place of codes.
///
/// Example: w F8_E4M3 [256, 512], w_scale_inv F32 [2, 4], held as BF16 -> w BF16 [256, 512].
HeldCheckpoint held_checkpoint(Catalog const& catalog, Architecture const& architecture, MappingOptions const& options,
                               Parameters parameters);

}  // namespace shardwise
