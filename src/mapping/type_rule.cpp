#include "mapping/type_rule.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fnmatch.h>

namespace shardwise {
namespace {

bool is_plain_float(DType dtype) {
    return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

/// Codes of a quantization: small floating-point types, and bytes. 32-bit words, which may hold packed codes, too.
bool may_be_codes(DType dtype) {
    switch (dtype) {
        case DType::f4:
        case DType::f6_e2m3:
        case DType::f6_e3m2:
        case DType::u8:
        case DType::i8:
        case DType::f8_e5m2:
        case DType::f8_e4m3:
        case DType::f8_e4m3fnuz:
        case DType::f8_e5m2fnuz:
        case DType::i32: return true;
        default: return false;
    }
}

std::string_view module_of(std::string_view name) {
    auto const dot = name.rfind('.');
    return dot == std::string_view::npos ? std::string_view() : name.substr(0, dot);
}

/// Found anywhere in a name, `*` standing for anything; no border of a name is needed.
bool is_found(std::vector<std::string> const& patterns, std::string const& name) {
    return std::any_of(patterns.begin(), patterns.end(), [&](std::string const& pattern) {
        return ::fnmatch(fmt::format("*{}*", pattern).c_str(), name.c_str(), 0) == 0;
    });
}

}  // namespace

TypeRule::TypeRule(Catalog const& catalog, KeepInFp32 const& keep, std::optional<DType> wanted)
    : keep_(keep), wanted_(wanted) {
    if (!wanted_) { return; }
    for (auto const& tensor : catalog.tensors()) {
        if (may_be_codes(tensor.dtype)) { quantized_modules_.emplace(module_of(tensor.name)); }
    }
}

bool TypeRule::is_scale(std::string_view stored) const {
    auto const module = module_of(stored);
    bool const is_called_scale = stored.substr(module.size()).find("scale") != std::string_view::npos;
    return is_called_scale && quantized_modules_.contains(module);
}

std::optional<DType> TypeRule::wanted_for(std::string const& parameter) const {
    bool const is_kept = (wanted_ == DType::f16 && is_found(keep_.float16, parameter)) ||
                         ((wanted_ == DType::f16 || wanted_ == DType::bf16) &&
                          is_found(keep_.float16_and_bfloat16, parameter));
    return is_kept ? DType::f32 : wanted_;
}

DType TypeRule::type_of(TensorRecord const& stored, std::string const& parameter) const {
    if (!wanted_ || !is_plain_float(stored.dtype) || is_scale(stored.name)) { return stored.dtype; }
    return *wanted_for(parameter);
}

}  // namespace shardwise
