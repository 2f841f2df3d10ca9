/// @file
/// quantize_fp8() for an accelerator.
#pragma once

#include <cstddef>
#include <cstdint>

#include <shardwise/dtype.hpp>

#include "convert/fp8_block.hpp"
#include "device/accelerator.hpp"

namespace shardwise {

/// A matrix and where its codes go; addresses are the accelerator's.
struct QuantizeJob {
    QuantizeShape shape;
    DType from = DType::f32;  ///< of the values, a floating-point type of whole bytes; rounded to F32 first
    std::byte const* values = nullptr;
    ScaleFormat format = ScaleFormat::f32;
    std::byte* codes = nullptr;   ///< rows x columns bytes
    std::byte* scales = nullptr;  ///< one for each block, row by row
};

/// Quantizes as quantize_fp8() does, bit for bit, in order with the rest of @p stream. A block is the work of one
/// thread block: matrices of few and large blocks leave most of a GPU idle.
/// @throws Error input if the values are no floating-point numbers of whole bytes, or a block has more than 2^30; io
///         when the accelerator refuses.
void run_quantize_fp8(Stream& stream, QuantizeJob const& job);

}  // namespace shardwise
