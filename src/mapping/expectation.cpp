#include "mapping/expectation.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

#include "catalog/file_header.hpp"
#include "util/file.hpp"
#include "util/json_reader.hpp"

namespace shardwise {
namespace {

[[noreturn]] void refuse(std::string text) { throw Error(Errc::input, std::move(text)); }

ExpectedParameter read_parameter(JsonReader const& json) {
    json.allow_only({"dtype", "shape", "data_offsets"});
    ExpectedParameter parameter;
    if (auto const dtype = json.find("dtype")) {
        parameter.dtype = parse_dtype(dtype->text());
        if (!parameter.dtype) { dtype->refuse("unknown dtype"); }
    }
    if (auto const shape = json.find("shape")) {
        std::vector<std::int64_t> extents;
        for (auto const& extent : shape->array()) {
            extents.push_back(extent.integer());
            if (extents.back() < 0) { extent.refuse("a negative extent"); }
        }
        if (extents.size() > Shape::kMaxRank) { shape->refuse(fmt::format("more than {} extents", Shape::kMaxRank)); }
        parameter.shape = Shape(extents);
    }
    return parameter;
}

/// The inner part of braces as first and last number.
struct NumberRange {
    std::int64_t first = 0;
    std::int64_t last = -1;
};

NumberRange range_of(std::string const& text, SizeLookup const& size_of) {
    constexpr std::string_view kTo = "...";
    auto const dots = text.find(kTo);
    if (dots == std::string::npos) { return {0, size_of(text) - 1}; }
    return {size_of(text.substr(0, dots)), size_of(text.substr(dots + kTo.size()))};
}

/// A name that a pattern stands for, and the first number in it that stood in braces.
struct NumberedName {
    std::string name;
    std::optional<std::int64_t> number;
};

void write_out(NumberedName const& pattern, SizeLookup const& size_of, std::vector<NumberedName>& names) {
    constexpr std::size_t kMostNames = 1U << 22U;
    auto const& text = pattern.name;
    auto const open = text.find('{');
    auto const close = text.find('}');
    if (open == std::string::npos && close == std::string::npos) {
        if (names.size() >= kMostNames) { refuse(fmt::format("'{}' makes more than {} names", text, kMostNames)); }
        names.push_back(pattern);
        return;
    }
    if (open == std::string::npos || close == std::string::npos || close < open) {
        refuse(fmt::format("'{}': braces that do not pair", text));
    }
    auto const range = range_of(text.substr(open + 1, close - open - 1), size_of);
    for (auto number = range.first; number <= range.last; ++number) {
        write_out({fmt::format("{}{}{}", text.substr(0, open), number, text.substr(close + 1)),
                   pattern.number.value_or(number)},
                  size_of, names);
    }
}

std::optional<Shape> shape_of(ParameterPattern const& pattern, SizeLookup const& size_of) {
    if (!pattern.shape) { return std::nullopt; }
    std::vector<std::int64_t> extents;
    try {
        for (auto const& extent : *pattern.shape) { extents.push_back(size_of(extent)); }
    } catch (Error const&) { return std::nullopt; }
    return Shape(extents);
}

}  // namespace

Expectation read_expectation(std::string const& path) {
    if (path.ends_with(".safetensors")) {
        Expectation expectation;
        for (auto const& tensor : read_file_header(path).tensors) {
            expectation.emplace(tensor.name, ExpectedParameter{tensor.dtype, tensor.shape});
        }
        return expectation;
    }
    return parse_expectation(read_text(path), path);
}

Expectation parse_expectation(std::string const& json, std::string const& origin) {
    Expectation expectation;
    auto const document = parse_json(json, origin);
    for (auto const& [name, value] : JsonReader(document, origin).members()) {
        if (name != "__metadata__") { expectation.emplace(name, read_parameter(value)); }
    }
    return expectation;
}

std::string to_json(Expectation const& expectation) {
    auto json = nlohmann::json::object();
    for (auto const& [name, parameter] : expectation) {
        auto& entry = json[name] = nlohmann::json::object();
        if (parameter.dtype) { entry["dtype"] = to_string(*parameter.dtype); }
        if (auto const& shape = parameter.shape) {
            entry["shape"] = std::vector<std::int64_t>(shape->begin(), shape->end());
        }
    }
    return json.dump();
}

std::vector<std::string> names_of_pattern(std::string const& pattern, SizeLookup const& size_of) {
    std::vector<NumberedName> numbered;
    write_out({pattern, {}}, size_of, numbered);
    std::vector<std::string> names;
    for (auto& entry : numbered) { names.push_back(std::move(entry.name)); }
    return names;
}

Expectation expectation_of(std::vector<ParameterPattern> const& patterns, LayerLookup const& sizes_of) {
    Expectation expectation;
    auto const size_of = sizes_of(std::nullopt);
    for (auto const& pattern : patterns) {
        std::vector<NumberedName> names;
        write_out({pattern.name, {}}, size_of, names);
        auto const shape = shape_of(pattern, size_of);
        for (auto& [name, number] : names) {
            if (!pattern.condition.empty() && sizes_of(number)(pattern.condition) == 0) { continue; }
            expectation.insert_or_assign(std::move(name), ExpectedParameter{pattern.dtype, shape, pattern.is_optional});
        }
    }
    return expectation;
}

}  // namespace shardwise
