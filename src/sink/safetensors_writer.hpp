/// @file
/// Writing safetensors files.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <shardwise/dtype.hpp>
#include <shardwise/shape.hpp>

namespace shardwise {

/// A tensor to be written; size_bytes is what dtype and shape need.
struct TensorEntry {
    std::string_view name;
    DType dtype = DType::u8;
    Shape shape;
    std::uint64_t size_bytes = 0;
};

/// Everything before the data: the length field and the JSON, padded with spaces so that data begins at a multiple of
/// @p alignment, a power of two (the reference implementation's is 8; pages suit direct I/O and mapping better). Data
/// follows in the order of @p tensors without gaps.
std::string safetensors_header(std::span<TensorEntry const> tensors, std::map<std::string, std::string> const& metadata,
                               std::uint64_t alignment);

/// Order in which to write tensors: wider elements first, so that each begins at a multiple of its element, then by
/// name; what the reference implementation does. Returns indices into @p tensors.
std::vector<std::size_t> safetensors_order(std::span<TensorEntry const> tensors);

}  // namespace shardwise
