#include "mapping/leaves.hpp"

#include <boost/container/small_vector.hpp>
#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "util/parallel.hpp"

namespace shardwise {
namespace {

constexpr std::int64_t kBlockBytes = 16;  ///< of one MXFP4 block: 32 codes

bool is_small_float(DType dtype) {
    return dtype == DType::f8_e4m3 || dtype == DType::f8_e5m2 || dtype == DType::f8_e4m3fnuz ||
           dtype == DType::f8_e5m2fnuz;
}

bool holds_scales(DType dtype) {
    return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f8_e8m0 ||
           dtype == DType::u8;
}

/// @p name with @p suffix taken off, if it ends so.
std::optional<std::string_view> without_suffix(std::string_view name, std::string_view suffix) {
    if (!name.ends_with(suffix)) { return std::nullopt; }
    return name.substr(0, name.size() - suffix.size());
}

std::optional<std::uint32_t> known(std::vector<std::uint32_t> const& by_tensor, std::uint32_t tensor) {
    bool const is_known = tensor < by_tensor.size() && by_tensor[tensor] != Leaves::kNoTensor;
    return is_known ? std::optional(by_tensor[tensor]) : std::nullopt;
}

}  // namespace

Leaves::Leaves(Catalog const& catalog, KeepInFp32 const& keep, std::optional<DType> wanted,
               QuantizedOptions const& options)
    : catalog_(catalog), types_(catalog, keep, wanted), model_type_(options.model_type), block_(options.block) {
    if (!options.dequantizes) {
        note_kept();
        return;
    }
    if (wanted && bits(*wanted) < 16) {
        throw Error(Errc::input, fmt::format("dequantized numbers cannot be held as {}", to_string(*wanted)));
    }
    for (std::uint32_t tensor = 0; tensor < catalog.tensors().size(); ++tensor) {
        auto codes = find_codes(catalog.tensors()[tensor]);
        if (!codes) { continue; }
        taken_in_.insert(codes->scales);
        if (auto const module = without_suffix(codes->name, ".weight")) {
            for (auto const* const suffix : {".activation_scale", ".input_scale"}) {
                if (auto const found = catalog.find(fmt::format("{}{}", *module, suffix))) { taken_in_.insert(*found); }
            }
        }
        codes_.emplace(tensor, std::move(*codes));
    }
}

void Leaves::note_kept() {
    constexpr std::size_t kLeastTensors = 8192;
    auto const tensors = catalog_.tensors();
    kept_scales_.assign(tensors.size(), kNoTensor);
    kept_codes_.assign(tensors.size(), kNoTensor);
    auto const parts = parts_for_threads(tensors.size(), kLeastTensors);
    for_each_in_parallel(parts.size(), parts.size(), [&](std::size_t part) {
        for (auto tensor = parts[part].begin; tensor < parts[part].end; ++tensor) {
            auto const codes = find_codes(tensors[tensor]);
            if (codes && !codes->is_turned) { kept_scales_[tensor] = codes->scales; }
        }
    });
    for (std::uint32_t tensor = 0; tensor < tensors.size(); ++tensor) {
        auto const scales = kept_scales_[tensor];
        if (scales != kNoTensor && kept_codes_[scales] == kNoTensor) { kept_codes_[scales] = tensor; }
    }
}

std::optional<std::uint32_t> Leaves::kept_scales(std::uint32_t codes) const {
    return known(kept_scales_, codes);
}

std::optional<std::uint32_t> Leaves::kept_codes(std::uint32_t scales) const {
    return known(kept_codes_, scales);
}

std::optional<std::uint32_t> Leaves::find_scales(std::string_view start, std::string_view ending) const {
    boost::container::small_vector<char, 256> name(start.begin(), start.end());
    name.insert(name.end(), ending.begin(), ending.end());
    auto const found = catalog_.find({name.data(), name.size()});
    return found && holds_scales(catalog_.tensors()[*found].dtype) ? found : std::nullopt;
}

std::optional<Leaves::Codes> Leaves::find_codes(TensorRecord const& tensor) const {
    auto shape = tensor.shape;
    if (tensor.dtype == DType::u8) {
        auto const base = without_suffix(tensor.name, "_blocks");
        if (!base || shape.rank() < 3 || shape[shape.rank() - 1] != kBlockBytes) { return std::nullopt; }
        auto const scales = find_scales(*base, "_scales");
        if (!scales) { return std::nullopt; }
        shape = shape.without(shape.rank() - 1);
        shape[shape.rank() - 1] *= 2 * kBlockBytes;
        return Codes{*scales, *base, DType::f4, shape, true};
    }
    auto scales = is_small_float(tensor.dtype) || tensor.dtype == DType::i8 ? find_scales(tensor.name, "_scale_inv")
                                                                            : std::nullopt;
    if (!scales && is_small_float(tensor.dtype)) {
        scales = find_scales(tensor.name, "_scale");
        auto const module = without_suffix(tensor.name, ".weight");
        if (!scales && module) { scales = find_scales(*module, ".scale"); }
    }
    if (!scales || shape.rank() == 0) { return std::nullopt; }
    if (tensor.dtype != DType::i8) { return Codes{*scales, tensor.name, tensor.dtype, shape, false}; }
    shape[shape.rank() - 1] *= 2;
    return Codes{*scales, tensor.name, DType::f4, shape, false};
}

std::string_view Leaves::name_of(std::uint32_t tensor) const {
    auto const found = codes_.find(tensor);
    return found == codes_.end() ? std::string_view(catalog_.tensors()[tensor].name) : found->second.name;
}

/// What was asked for, else the model's own type, else that of the scales if numbers can be held in it.
DType Leaves::type_of_numbers(Codes const& codes, std::string const& parameter) const {
    if (auto const wanted = types_.wanted_for(parameter)) { return *wanted; }
    if (model_type_) { return *model_type_; }
    auto const of_scales = catalog_.tensors()[codes.scales].dtype;
    return bits(of_scales) >= 16 ? of_scales : DType::bf16;
}

Expression Leaves::leaf(std::uint32_t tensor, std::string const& parameter) const {
    auto const& record = catalog_.tensors()[tensor];
    auto const found = codes_.find(tensor);
    if (found == codes_.end()) { return cast_of(stored(tensor, record), types_.type_of(record, parameter)); }
    auto const& codes = found->second;
    auto const& scales = catalog_.tensors()[codes.scales];
    try {
        auto numbers =
            dequantization_of(viewed_as(stored(tensor, record), codes.dtype, codes.shape), stored(codes.scales, scales),
                              type_of_numbers(codes, parameter), codes.is_turned ? std::nullopt : block_);
        auto const rank = codes.shape.rank();
        return codes.is_turned ? transpose_of(std::move(numbers), rank - 2, rank - 1) : numbers;
    } catch (Error const& error) { throw error.while_(fmt::format("{} with {}", record.name, scales.name)); }
}

}  // namespace shardwise
