/// @file
/// Safetensors files put together by hand, so that any rule of the format can be broken on purpose.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace shardwise::test {

/// Eight bytes, little-endian.
inline std::string length_field(std::uint64_t length) {
    std::string bytes;
    for (int byte = 0; byte < 8; ++byte) { bytes += static_cast<char>(length >> (8 * byte) & 0xFFU); }
    return bytes;
}

/// A whole file: length, header text as it is given, then @p data_bytes bytes that count up.
inline std::string safetensors_bytes(std::string_view json, std::uint64_t data_bytes) {
    std::string bytes = length_field(json.size());
    bytes += json;
    for (std::uint64_t i = 0; i < data_bytes; ++i) { bytes += static_cast<char>(i * 31 + 7); }
    return bytes;
}

/// A file with one U8 vector of @p data_bytes elements.
inline std::string one_tensor_file(std::string const& name, std::uint64_t data_bytes) {
    auto const size = std::to_string(data_bytes);
    return safetensors_bytes(
        R"({")" + name + R"(":{"dtype":"U8","shape":[)" + size + R"(],"data_offsets":[0,)" + size + "]}}", data_bytes);
}

}  // namespace shardwise::test
