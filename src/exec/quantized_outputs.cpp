#include "exec/quantized_outputs.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>
#include <fnmatch.h>

#include <shardwise/error.hpp>

#include "catalog/safetensors.hpp"
#include "convert/cast.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

constexpr char const* kScaleEnding = "_scale_inv";
constexpr std::uint64_t kScaleBytes = 4;

/// The parameter as a matrix of whole blocks; nothing if it is none.
std::optional<QuantizeShape> shape_of(Parameter const& parameter, QuantizeOptions const& options) {
    auto const& shape = parameter.value.shape;
    if (!can_cast(parameter.value.dtype, DType::f32) || bits(parameter.value.dtype) < 16 || shape.rank() < 2) {
        return std::nullopt;
    }
    auto const columns = static_cast<std::uint64_t>(shape[shape.rank() - 1]);
    auto const rows = columns == 0 ? 0 : static_cast<std::uint64_t>(shape.num_elements()) / columns;
    auto const matrix_rows = static_cast<std::uint64_t>(shape[shape.rank() - 2]);
    bool const is_whole = rows > 0 && matrix_rows % options.block_rows == 0 && columns % options.block_columns == 0;
    if (!is_whole) { return std::nullopt; }
    return QuantizeShape{rows, columns, options.block_rows, options.block_columns};
}

Shape scale_shape(Shape const& shape, QuantizeOptions const& options) {
    std::vector<std::int64_t> extents(shape.begin(), shape.end());
    extents[extents.size() - 2] /= static_cast<std::int64_t>(options.block_rows);
    extents[extents.size() - 1] /= static_cast<std::int64_t>(options.block_columns);
    return Shape(extents);
}

/// By parameter: some pattern fits its name.
std::vector<bool> find_wanted(std::span<Parameter const> parameters, std::span<std::string const> patterns) {
    std::vector<bool> is_wanted(parameters.size());
    for (auto const& pattern : patterns) {
        bool fits_any = false;
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            if (::fnmatch(pattern.c_str(), parameters[i].name.c_str(), 0) != 0) { continue; }
            is_wanted[i] = true;
            fits_any = true;
        }
        if (fits_any) { continue; }
        throw Error(Errc::usage,
                    fmt::format("--quantize {} fits none of the model's {} parameters, such as {}", pattern,
                                parameters.size(), parameters.empty() ? "" : parameters.front().name));
    }
    return is_wanted;
}

/// A file a parameter, its numbers.
CheckpointLayout values_of(std::span<Parameter const> parameters) {
    CheckpointLayout layout;
    for (std::uint32_t i = 0; i < parameters.size(); ++i) {
        auto const& value = parameters[i].value;
        auto const size = stored_bytes(value.dtype, value.shape);
        layout.files.push_back(
            {parameters[i].name, {}, {{parameters[i].name, value.dtype, value.shape, size, i}}, size});
    }
    return layout;
}

}  // namespace

std::vector<Piece> QuantizedOutputs::PlainPieces::pieces_of(std::uint32_t item, int writer) {
    bool const is_quantized = item >= shapes_.size() || shapes_[item].has_value();
    return is_quantized ? std::vector<Piece>() : model_.pieces_of(item, writer);
}

QuantizedOutputs::QuantizedOutputs(std::span<Parameter const> parameters, QuantizeOptions const& options)
    : parameters_(parameters),
      model_(parameters),
      plain_(model_, shapes_),
      values_(values_of(parameters)),
      value_parts_(values_, model_) {
    auto const is_wanted = find_wanted(parameters, options.patterns);
    std::set<std::string_view> names;
    for (auto const& parameter : parameters) { names.insert(parameter.name); }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        auto const& name = parameters[i].name;
        shapes_.push_back(is_wanted[i] ? shape_of(parameters[i], options) : std::nullopt);
        if (is_wanted[i] && !shapes_.back()) { left_alone_.push_back(name); }
        if (shapes_.back() && names.contains(name + kScaleEnding)) {
            throw Error(Errc::input, fmt::format("--quantize: {} has scales already: {}{}", name, name, kScaleEnding));
        }
    }
}

std::vector<OutputTensor> QuantizedOutputs::tensors() const {
    std::vector<OutputTensor> tensors;
    for (std::uint32_t i = 0; i < parameters_.size(); ++i) {
        auto const& [name, aliases, value, placement] = parameters_[i];
        auto const& quantized = shapes_[i];
        auto const dtype = quantized ? DType::f8_e4m3 : value.dtype;
        tensors.push_back({name, dtype, value.shape, stored_bytes(dtype, value.shape), i, 0});
        if (!quantized) { continue; }
        auto const scales = scale_shape(value.shape, {{}, quantized->block_rows, quantized->block_columns});
        tensors.push_back({name + kScaleEnding, DType::f32, scales, stored_bytes(DType::f32, scales),
                           i + static_cast<std::uint32_t>(parameters_.size()), 0});
    }
    return tensors;
}

std::vector<std::string> QuantizedOutputs::modules_left_alone() const {
    constexpr std::string_view kWeight = ".weight";
    std::vector<std::string> modules;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
        auto const& name = parameters_[i].name;
        if (shapes_[i] || parameters_[i].value.shape.rank() != 2 || !name.ends_with(kWeight)) { continue; }
        modules.push_back(name.substr(0, name.size() - kWeight.size()));
    }
    return modules;
}

QuantizedOutputs::Quantized QuantizedOutputs::quantize(std::uint32_t parameter, std::uint64_t first_block_row,
                                                       std::uint64_t block_rows, ObjectReader& reader) {
    auto shape = *shapes_[parameter];
    auto const dtype = parameters_[parameter].value.dtype;
    auto const row_bytes = shape.columns * static_cast<std::uint64_t>(bits(dtype)) / 8;
    auto const first_row = first_block_row * shape.block_rows;
    shape.rows = block_rows * shape.block_rows;
    std::vector<std::byte> stored(shape.rows * row_bytes);
    Window const rows = {parameter, {first_row * row_bytes, (first_row + shape.rows) * row_bytes}, false};
    reader.fill(value_parts_.parts_of(rows, 0), stored);
    std::vector<float> values(shape.rows * shape.columns);
    cast(dtype, stored, DType::f32, std::as_writable_bytes(std::span(values)));
    Quantized result{std::vector<std::byte>(values.size()), std::vector<std::byte>(shape.blocks() * kScaleBytes)};
    quantize_fp8(shape, values, ScaleFormat::f32, result.codes, result.scales);
    return result;
}

/// @param part of the tensor's bytes; whole blocks around it are quantized.
void QuantizedOutputs::fill_part(OutputTensor const& tensor, ByteRange part, ObjectReader& reader,
                                 std::span<std::byte> bytes) {
    bool const is_scales = tensor.item >= parameters_.size();
    auto const parameter = is_scales ? tensor.item - static_cast<std::uint32_t>(parameters_.size()) : tensor.item;
    auto const& shape = *shapes_[parameter];
    auto const band_bytes = is_scales ? shape.columns / shape.block_columns * kScaleBytes
                                      : shape.block_rows * shape.columns;  // of one row of blocks
    for (auto band = part.begin / band_bytes; band * band_bytes < part.end; ++band) {
        auto const quantized = quantize(parameter, band, 1, reader);
        auto const& made = is_scales ? quantized.scales : quantized.codes;
        auto const begin = std::max(part.begin, band * band_bytes);
        auto const end = std::min(part.end, (band + 1) * band_bytes);
        std::memcpy(bytes.data() + (begin - part.begin), made.data() + (begin - band * band_bytes), end - begin);
    }
}

void QuantizedOutputs::fill(CheckpointLayout const& layout, Window const& window, ObjectReader& reader,
                            std::span<std::byte> bytes) {
    for (auto const& tensor : layout.files[window.file].tensors) {
        bool const is_quantized = tensor.item >= parameters_.size() || shapes_[tensor.item].has_value();
        auto const begin = std::max(tensor.begin, window.range.begin);
        auto const end = std::min(tensor.end(), window.range.end);
        if (!is_quantized || begin >= end) { continue; }
        fill_part(tensor, {begin - tensor.begin, end - tensor.begin}, reader,
                  bytes.subspan(begin - window.range.begin, end - begin));
    }
}

}  // namespace shardwise
