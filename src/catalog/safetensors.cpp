#include "catalog/safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include <boost/container/small_vector.hpp>
#include <fmt/format.h>
#include <simdjson.h>

#include <shardwise/error.hpp>

#include "util/checked.hpp"
#include "util/name_hash.hpp"

static_assert(std::endian::native == std::endian::little, "tensor data is little-endian and used as it lies in files");

namespace shardwise {
namespace {

namespace dom = simdjson::dom;

[[noreturn]] void refuse(std::string text) { throw Error(Errc::input, std::move(text)); }

/// The value of @p name in the entry of a tensor, which must have the JSON type of T.
template <class T>
T field(dom::object const& entry, std::string_view name) {
    T value;
    if (auto const error = entry[name].get(value); error != simdjson::SUCCESS) {
        refuse(fmt::format("'{}': {}", name, simdjson::error_message(error)));
    }
    return value;
}

Shape parse_shape(dom::array const& extents) {
    boost::container::small_vector<std::int64_t, Shape::kMaxRank> shape;
    for (auto const extent : extents) {
        std::int64_t value = 0;
        if (extent.get(value) != simdjson::SUCCESS || value < 0) { refuse("'shape' must be whole numbers from 0 up"); }
        shape.push_back(value);
    }
    return Shape(std::span(shape.data(), shape.size()));
}

/// A field given twice would leave open which of them counts.
void check_unique_fields(dom::object const& entry) {
    std::array<int, 3> counts = {};
    constexpr std::array<std::string_view, 3> kFields = {"dtype", "shape", "data_offsets"};
    for (auto const [name, value] : entry) {
        for (std::size_t i = 0; i < kFields.size(); ++i) {
            if (name == kFields[i] && ++counts[i] > 1) { refuse(fmt::format("'{}' is given twice", name)); }
        }
    }
}

TensorRecord parse_entry(std::string_view name, dom::object const& entry, std::uint64_t data_begin) {
    TensorRecord tensor;
    tensor.name = name;
    check_unique_fields(entry);
    auto const dtype_name = field<std::string_view>(entry, "dtype");
    auto const dtype = parse_dtype(dtype_name);
    if (!dtype) { refuse(fmt::format("unknown dtype '{}'", dtype_name)); }
    tensor.dtype = *dtype;
    tensor.shape = parse_shape(field<dom::array>(entry, "shape"));

    auto const offsets = field<dom::array>(entry, "data_offsets");
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool const is_pair = offsets.size() == 2 && offsets.at(0).get(begin) == simdjson::SUCCESS &&
                         offsets.at(1).get(end) == simdjson::SUCCESS && begin <= end;
    if (!is_pair) { refuse("'data_offsets' must be two whole numbers, the first not above the second"); }
    tensor.size_bytes = stored_bytes(tensor.dtype, tensor.shape);
    if (end - begin != tensor.size_bytes) {
        refuse(fmt::format("data_offsets [{}, {}] hold {} B, but {} {} needs {} B", begin, end, end - begin,
                           to_string(tensor.dtype), to_string(tensor.shape), tensor.size_bytes));
    }
    auto const absolute = checked_add(data_begin, begin);
    if (!absolute) { refuse(fmt::format("data_offsets [{}, {}] overflow", begin, end)); }
    tensor.begin = *absolute;
    return tensor;
}

/// Orders by place in the file and checks that the ranges tile [data_begin, file_bytes) without overlap or hole.
void check_tiling(std::vector<TensorRecord>& tensors, std::uint64_t data_begin, std::uint64_t file_bytes) {
    auto const by_place = [](TensorRecord const& a, TensorRecord const& b) {
        return std::pair(a.begin, a.size_bytes) < std::pair(b.begin, b.size_bytes);
    };
    if (!std::is_sorted(tensors.begin(), tensors.end(), by_place)) {
        std::stable_sort(tensors.begin(), tensors.end(), by_place);
    }
    std::uint64_t expected = data_begin;
    for (auto const& tensor : tensors) {
        if (tensor.begin != expected) {
            refuse(fmt::format("{}: data begins at byte {} of the file, expected {}: ranges {}", tensor.name,
                               tensor.begin, expected, tensor.begin < expected ? "overlap" : "leave a hole"));
        }
        auto const end = checked_add(tensor.begin, tensor.size_bytes);
        if (!end || *end > file_bytes) {
            refuse(fmt::format("{}: bytes [{}, {}+{}) leave the file of {} B: is it truncated?", tensor.name,
                               tensor.begin, tensor.begin, tensor.size_bytes, file_bytes));
        }
        expected = *end;
    }
    if (expected != file_bytes) {
        refuse(fmt::format("tensors end at byte {}, but the file has {} B", expected, file_bytes));
    }
}

/// Free texts of the writer; null in some files.
std::map<std::string, std::string> texts_of(dom::element const& metadata) {
    std::map<std::string, std::string> texts;
    dom::object members;
    if (metadata.get(members) != simdjson::SUCCESS) { return texts; }
    for (auto const [name, value] : members) {
        std::string_view text;
        if (value.get(text) == simdjson::SUCCESS) { texts.emplace(name, text); }
    }
    return texts;
}

void check_unique_names(std::vector<TensorRecord> const& tensors) {
    HashedNames names;
    names.reserve(tensors.size());
    for (auto const& tensor : tensors) {
        if (!names.insert(tensor.name)) { refuse(fmt::format("the name {} is given twice", tensor.name)); }
    }
}

}  // namespace

std::uint64_t stored_bytes(DType dtype, Shape const& shape) {
    constexpr std::uint64_t kMaxBits = std::uint64_t{1} << 62U;
    std::optional<std::uint64_t> total_bits = static_cast<std::uint64_t>(bits(dtype));
    for (auto const extent : shape) {
        total_bits = checked_mul(*total_bits, static_cast<std::uint64_t>(std::max<std::int64_t>(extent, 1)));
        if (!total_bits || *total_bits > kMaxBits) { refuse(fmt::format("shape {} overflows", to_string(shape))); }
    }
    if (std::find(shape.begin(), shape.end(), 0) != shape.end()) { return 0; }
    if (*total_bits % 8 != 0) {
        refuse(fmt::format("{} {} ends inside a byte: {} bits", to_string(dtype), to_string(shape), *total_bits));
    }
    return *total_bits / 8;
}

std::uint64_t safetensors_header_bytes(std::span<std::byte const> start, std::uint64_t file_bytes) {
    if (start.size() <= kLengthBytes) {
        refuse(fmt::format("{} B are too few for a safetensors header", file_bytes));
    }
    std::uint64_t json_bytes = 0;
    std::memcpy(&json_bytes, start.data(), sizeof(json_bytes));
    if (json_bytes > kMaxHeaderBytes) {
        refuse(fmt::format("header length {} is above the format's limit of {}: not a safetensors file?", json_bytes,
                           kMaxHeaderBytes));
    }
    if (json_bytes > file_bytes - kLengthBytes) {
        refuse(fmt::format("a header of {} B does not fit the file of {} B: is it truncated?", json_bytes, file_bytes));
    }
    if (json_bytes < 2 || static_cast<char>(start[kLengthBytes]) != '{') {
        refuse("no JSON object follows the header length: not a safetensors file?");
    }
    return json_bytes;
}

SafetensorsHeader parse_safetensors_header(std::string json, std::uint64_t file_bytes) {
    auto const data_begin = kLengthBytes + json.size();
    json.reserve(json.size() + simdjson::SIMDJSON_PADDING);
    dom::parser parser;
    dom::object header;
    if (auto const error = parser.parse(json).get(header); error != simdjson::SUCCESS) {
        refuse(fmt::format("header: {}", simdjson::error_message(error)));
    }
    SafetensorsHeader result;
    auto& tensors = result.tensors;
    tensors.reserve(header.size());
    for (auto const [name, value] : header) {
        if (name == "__metadata__") {
            result.metadata = texts_of(value);
            continue;
        }
        dom::object entry;
        if (value.get(entry) != simdjson::SUCCESS) { refuse(fmt::format("{}: not an object", name)); }
        try {
            tensors.push_back(parse_entry(name, entry, data_begin));
        } catch (Error const& error) { throw error.while_(name); }
    }
    check_unique_names(tensors);
    check_tiling(tensors, data_begin, file_bytes);
    return result;
}

}  // namespace shardwise
