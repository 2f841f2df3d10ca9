// The header parser. The input is eight bytes that say how much data follows, then the JSON: so tensors may be as large
// as they like without a large input.
#include <algorithm>
#include <cstring>
#include <set>
#include <string>

#include <shardwise/error.hpp>

#include "catalog/file_header.hpp"
#include "catalog/safetensors.hpp"
#include "fuzz/require.hpp"

namespace shardwise {
namespace {

/// Computed with more bits than the parser has.
bool needs_exactly(TensorRecord const& tensor) {
    __extension__ using Wide = unsigned __int128;
    Wide total = static_cast<Wide>(bits(tensor.dtype));
    for (auto const extent : tensor.shape) {
        REQUIRE(extent >= 0);
        if (extent == 0) { return tensor.size_bytes == 0; }
    }
    for (auto const extent : tensor.shape) {
        total *= static_cast<Wide>(extent);
        REQUIRE(total >> 64 == 0);
    }
    return total == static_cast<Wide>(tensor.size_bytes) * 8;
}

void check(SafetensorsHeader const& parsed, std::uint64_t data_begin, std::uint64_t file_bytes) {
    auto const& tensors = parsed.tensors;
    std::set<std::string> names;
    std::uint64_t end = data_begin;
    for (auto const& tensor : tensors) {
        REQUIRE(names.insert(tensor.name).second);
        REQUIRE(tensor.begin == end);
        REQUIRE(tensor.size_bytes <= file_bytes - tensor.begin);
        REQUIRE(needs_exactly(tensor));
        REQUIRE((tensor.shape.num_elements() == 0) == (tensor.size_bytes == 0));
        end = tensor.begin + tensor.size_bytes;
    }
    REQUIRE(end == file_bytes);
    FileHeader const header{{"file", file_bytes, data_begin, parsed.metadata}, tensors};
    REQUIRE(decode_file_header(encode(header)) == header);
}

void try_length(std::span<std::byte const> file) {
    try {
        auto const json_bytes =
            safetensors_header_bytes(file.first(std::min<std::size_t>(file.size(), 16)), file.size());
        REQUIRE(json_bytes >= 2 && json_bytes <= file.size() - kLengthBytes);
    } catch (Error const& error) { REQUIRE(error.code() == Errc::input); }
}

void try_header(std::uint64_t data_bytes, std::string const& json) {
    auto const data_begin = kLengthBytes + json.size();
    if (data_bytes > ~data_begin) { return; }  // no file is that long
    try {
        check(parse_safetensors_header(json, data_begin + data_bytes), data_begin, data_begin + data_bytes);
    } catch (Error const& error) { REQUIRE(error.code() == Errc::input); }
}

}  // namespace
}  // namespace shardwise

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    auto const input = std::as_bytes(std::span(data, size));
    shardwise::try_length(input);
    std::uint64_t data_bytes = 0;
    if (size < sizeof(data_bytes)) { return 0; }
    std::memcpy(&data_bytes, data, sizeof(data_bytes));
    shardwise::try_header(data_bytes,
                          {reinterpret_cast<char const*>(data) + sizeof(data_bytes), size - sizeof(data_bytes)});
    return 0;
}
