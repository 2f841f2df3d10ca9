#include "catalog/file_header.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <string_view>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "catalog/safetensors.hpp"
#include "util/file.hpp"
#include "util/parallel.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

struct Magic {
    std::string_view bytes;
    std::string_view format;
};

using namespace std::string_view_literals;

/// Formats that are told apart by their first bytes, whatever the file is called.
constexpr std::array<Magic, 5> kForeign = {{
    {"\x89HDF\r\n\x1a\n"sv, "HDF5"},
    {"GGUF"sv, "GGUF"},
    {"PK\x03\x04"sv, "PyTorch zip"},
    {"\x80"sv, "Python pickle, which can run code when read,"},
    {"\x93NUMPY"sv, "NumPy"},
}};

constexpr std::size_t kSniffBytes = 16;

/// What a clone without LFS leaves in place of a large file.
constexpr std::string_view kLfsPointer = "version https://";
static_assert(kLfsPointer.size() <= kSniffBytes);

void refuse_foreign_format(std::string const& path, std::string_view start) {
    // A safetensors header may happen to begin with one of these bytes: its ninth byte decides.
    if (start.size() > kLengthBytes && start[kLengthBytes] == '{') { return; }
    if (start.starts_with(kLfsPointer)) {
        throw Error(Errc::input,
                    fmt::format("{} is a Git LFS pointer, not the data; fetch it with git lfs pull", path));
    }
    for (auto const& magic : kForeign) {
        if (!start.starts_with(magic.bytes)) { continue; }
        throw Error(Errc::input,
                    fmt::format("{} is a {} file, not safetensors; convert the checkpoint to safetensors first", path,
                                magic.format));
    }
}

}  // namespace

FileHeader read_file_header(std::string const& path) {
    // Looked at first, because to open a pipe is to wait for whoever writes to it.
    if (std::filesystem::exists(path) && !std::filesystem::is_regular_file(path)) {
        throw Error(Errc::input, fmt::format("{} is not a regular file", path));
    }
    Fd const fd = open_for_read(path);
    FileHeader header;
    header.file.path = path;
    header.file.size_bytes = file_size(fd, path);

    std::array<char, kSniffBytes> start = {};
    auto const sniffed = std::min<std::uint64_t>(header.file.size_bytes, start.size());
    read_exactly(fd, path, 0, std::as_writable_bytes(std::span(start).first(sniffed)));
    refuse_foreign_format(path, std::string_view(start.data(), sniffed));

    try {
        auto const json_bytes =
            safetensors_header_bytes(std::as_bytes(std::span(start).first(sniffed)), header.file.size_bytes);
        std::string json(json_bytes, '\0');
        read_exactly(fd, path, kLengthBytes, std::as_writable_bytes(std::span(json)));
        header.file.data_begin = kLengthBytes + json_bytes;
        auto parsed = parse_safetensors_header(std::move(json), header.file.size_bytes);
        header.tensors = std::move(parsed.tensors);
        header.file.metadata = std::move(parsed.metadata);
    } catch (Error const& error) {
        if (error.code() != Errc::input) { throw; }
        throw error.while_(path);
    }
    return header;
}

std::vector<FileHeader> read_file_headers(std::span<std::string const> paths) {
    std::vector<FileHeader> headers(paths.size());
    for_each_file(paths.size(), [&](std::size_t file) { headers[file] = read_file_header(paths[file]); });
    return headers;
}

std::vector<std::byte> encode(FileHeader const& header) {
    WireWriter out;
    out.put(header.file.path);
    out.put(header.file.size_bytes);
    out.put(header.file.data_begin);
    out.put<std::uint64_t>(header.file.metadata.size());
    for (auto const& [name, text] : header.file.metadata) {
        out.put(name);
        out.put(text);
    }
    out.put<std::uint64_t>(header.tensors.size());
    for (auto const& tensor : header.tensors) {
        out.put(tensor.name);
        out.put(tensor.dtype);
        out.put(tensor.shape);
        out.put(tensor.begin);
        out.put(tensor.size_bytes);
    }
    return out.take();
}

FileHeader decode_file_header(std::span<std::byte const> bytes) {
    WireReader in(bytes);
    FileHeader header;
    header.file.path = in.get_text();
    header.file.size_bytes = in.get<std::uint64_t>();
    header.file.data_begin = in.get<std::uint64_t>();
    for (auto left = in.get_count(); left > 0; --left) {
        auto name = in.get_text();
        header.file.metadata.emplace(std::move(name), in.get_text());
    }
    header.tensors.resize(in.get_count());
    for (auto& tensor : header.tensors) {
        tensor.name = in.get_text();
        tensor.dtype = in.get<DType>();
        tensor.shape = in.get<Shape>();
        tensor.begin = in.get<std::uint64_t>();
        tensor.size_bytes = in.get<std::uint64_t>();
    }
    return header;
}

}  // namespace shardwise
