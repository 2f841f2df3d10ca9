#include "mapping/kept_scales.hpp"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/block_scales.hpp"
#include "util/parallel.hpp"

namespace shardwise {
namespace {

constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kScaleInverse = "_scale_inv";
constexpr std::string_view kScale = ".scale";

[[noreturn]] void refuse(std::string text) {
    throw Error(Errc::input, std::move(text));
}

void collect_sources(Expression const& expression, std::vector<std::uint32_t>& sources) {
    if (expression.kind == Expression::Kind::source) { sources.push_back(expression.source); }
    for (auto const& input : expression.inputs) { collect_sources(input, sources); }
}

/// What stands behind the name of the codes; `.scale` if it stands in place of `.weight`.
std::string ending_of(std::string const& scales, std::string const& codes) {
    return std::string(scales.starts_with(codes) ? std::string_view(scales).substr(codes.size()) : kScale);
}

std::string name_with(std::string const& codes, std::string const& ending) {
    if (ending != kScale) { return codes + ending; }
    if (!codes.ends_with(kWeight)) { return codes + std::string(kScaleInverse); }
    return codes.substr(0, codes.size() - kWeight.size()) + ending;
}

/// How all scales of a parameter's codes end, which are @p sources.
std::string common_ending(std::vector<std::uint32_t> const& sources, Leaves const& leaves, Catalog const& catalog) {
    auto const ending = [&](std::uint32_t source) {
        auto const& name = catalog.tensors()[source].name;
        auto const scales = leaves.kept_scales(source);
        if (!scales) { refuse(fmt::format("{} has no scales, others that it is made of have", name)); }
        return ending_of(catalog.tensors()[*scales].name, name);
    };
    auto const first = ending(sources.front());
    for (auto const source : sources) {
        if (ending(source) == first) { continue; }
        refuse(fmt::format("the scales of {} end in {}, those of {} in {}", catalog.tensors()[sources.front()].name,
                           first, catalog.tensors()[source].name, ending(source)));
    }
    return first;
}

/// The scales of a parameter; none if it is not made of codes whose scales go with them.
std::optional<NamedExpression> scales_of(NamedExpression const& parameter, Leaves const& leaves, Catalog const& catalog,
                                         std::vector<bool> const& goes) {
    std::vector<std::uint32_t> sources;
    collect_sources(parameter.value, sources);
    bool const has_scales = std::ranges::any_of(sources, [&](std::uint32_t source) {
        auto const scales = leaves.kept_scales(source);
        return scales && goes[*scales];
    });
    if (!has_scales) { return std::nullopt; }
    try {
        auto name = name_with(parameter.name, common_ending(sources, leaves, catalog));
        auto value = block_scales(
            parameter.value,
            [&](std::uint32_t source) {
                auto const scales = *leaves.kept_scales(source);
                return stored(scales, catalog.tensors()[scales]);
            },
            leaves.block());
        return NamedExpression{std::move(name), std::move(value), parameter.transform};
    } catch (Error const& error) {
        throw error.while_(
            fmt::format("scales of {}, which is kept as it is stored (--quantized dequantize holds "
                        "numbers instead)",
                        parameter.name));
    }
}

}  // namespace

std::vector<std::string> scale_names(std::string const& codes) {
    std::vector<std::string> names = {codes + std::string(kScaleInverse), codes + "_scale"};
    if (codes.ends_with(kWeight)) { names.push_back(name_with(codes, std::string(kScale))); }
    return names;
}

bool go_with_codes(std::uint32_t scales, Leaves const& leaves, Catalog const& catalog, MappedNames const& mapped) {
    auto const codes = leaves.kept_codes(scales);
    auto const& own = mapped.list[scales];
    if (!codes || own.converter) { return false; }
    auto const& of_codes = mapped.list[*codes];
    if (of_codes.converter) { return true; }
    auto const names = scale_names(std::string(of_codes.name));
    bool const is_beside_codes = std::find(names.begin(), names.end(), own.name) != names.end();
    return !is_beside_codes && own.name == catalog.tensors()[scales].name;
}

void add_kept_scales(std::vector<NamedExpression>& parameters, Leaves const& leaves, Catalog const& catalog,
                     std::vector<bool> const& goes) {
    constexpr std::size_t kLeastParameters = 256;
    std::vector<std::optional<NamedExpression>> scales(parameters.size());
    auto const parts = parts_for_threads(parameters.size(), kLeastParameters);
    for_each_in_parallel(parts.size(), parts.size(), [&](std::size_t part) {
        for (auto i = parts[part].begin; i < parts[part].end; ++i) {
            scales[i] = scales_of(parameters[i], leaves, catalog, goes);
        }
    });
    for (auto& made : scales) {
        if (made) { parameters.push_back(*std::move(made)); }
    }
}

}  // namespace shardwise
