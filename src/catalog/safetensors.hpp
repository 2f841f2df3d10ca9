/// @file
/// The safetensors header: a length, then JSON. Pure parser over bytes; every rule of the format is checked here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <shardwise/catalog.hpp>

namespace shardwise {

/// Bytes of the length field a file begins with.
inline constexpr std::uint64_t kLengthBytes = 8;

/// Greatest header the format allows; the reference implementation has the same bound.
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

/// Size in bytes of the JSON after the length field.
/// @param start the file's first bytes, at least 9 if it has as many.
/// @throws Error input if the file is too short, the length leaves the file or the bound, or no JSON object follows.
std::uint64_t safetensors_header_bytes(std::span<std::byte const> start, std::uint64_t file_bytes);

/// Bytes that a tensor takes; elements below a byte are packed over the whole of it.
/// @throws Error input if that is no whole number, or the extents overflow; those of an empty tensor must not either:
///         what is computed from them later does not look at zeros first.
std::uint64_t stored_bytes(DType dtype, Shape const& shape);

/// What a header says.
struct SafetensorsHeader {
    std::vector<TensorRecord> tensors;            ///< in the order of their data, with absolute offsets
    std::map<std::string, std::string> metadata;  ///< the texts in __metadata__; anything else there is passed over
};

/// Reads and checks a header; data begins right after the JSON.
///
/// @param json        the header's text; taken by value because the parser needs room behind it.
/// @param file_bytes  size of the whole file.
/// @throws Error input naming tensor and numbers: malformed JSON, unknown dtype, a negative or overflowing extent, size
///         and shape that disagree, ranges that overlap, leave holes or do not end with the file, a name given twice.
SafetensorsHeader parse_safetensors_header(std::string json, std::uint64_t file_bytes);

}  // namespace shardwise
