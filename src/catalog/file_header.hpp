/// @file
/// The header of one checkpoint file: found by its first bytes, checked, and carried between ranks in binary.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <shardwise/catalog.hpp>

namespace shardwise {

/// A file and the tensors its header lists; TensorRecord::file is 0 until the catalog is put together.
struct FileHeader {
    FileRecord file;
    std::vector<TensorRecord> tensors;
    bool operator==(FileHeader const&) const = default;
};

/// Reads and checks the header of the file at @p path: two reads of 16 and of header-size bytes.
/// @throws Error io; Error input for another format, named by its magic, or a header that breaks a rule.
FileHeader read_file_header(std::string const& path);

/// Those of many files, by a few threads: on network storage most of a header's time is waiting.
/// @throws as read_file_header does for the first file that has no good header.
std::vector<FileHeader> read_file_headers(std::span<std::string const> paths);

/// Binary form for other ranks of the same build.
std::vector<std::byte> encode(FileHeader const& header);
FileHeader decode_file_header(std::span<std::byte const> bytes);

}  // namespace shardwise
