#include "mapping/kept_scales.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/block_scales.hpp"

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

}  // namespace

std::vector<std::string> scale_names(std::string const& codes) {
    std::vector<std::string> names = {codes + std::string(kScaleInverse), codes + "_scale"};
    if (codes.ends_with(kWeight)) { names.push_back(name_with(codes, std::string(kScale))); }
    return names;
}

bool go_with_codes(std::uint32_t scales, Leaves const& leaves, Catalog const& catalog,
                   std::vector<MappedName> const& mapped) {
    auto const codes = leaves.kept_codes(scales);
    auto const& own = mapped[scales];
    if (!codes || own.converter) { return false; }
    if (mapped[*codes].converter) { return true; }
    auto const names = scale_names(mapped[*codes].name);
    bool const is_beside_codes = std::find(names.begin(), names.end(), own.name) != names.end();
    return !is_beside_codes && own.name == catalog.tensors()[scales].name;
}

void add_kept_scales(std::vector<NamedExpression>& parameters, Leaves const& leaves, Catalog const& catalog,
                     std::vector<bool> const& goes) {
    auto const count = parameters.size();
    for (std::size_t i = 0; i < count; ++i) {
        std::vector<std::uint32_t> sources;
        collect_sources(parameters[i].value, sources);
        bool const has_scales = std::ranges::any_of(sources, [&](std::uint32_t source) {
            auto const scales = leaves.kept_scales(source);
            return scales && goes[*scales];
        });
        if (!has_scales) { continue; }
        try {
            auto name = name_with(parameters[i].name, common_ending(sources, leaves, catalog));
            auto value = block_scales(
                parameters[i].value,
                [&](std::uint32_t source) {
                    auto const scales = *leaves.kept_scales(source);
                    return stored(scales, catalog.tensors()[scales]);
                },
                leaves.block());
            parameters.push_back({std::move(name), std::move(value), parameters[i].transform});
        } catch (Error const& error) {
            throw error.while_(
                fmt::format("scales of {}, which is kept as it is stored (--quantized dequantize holds "
                            "numbers instead)",
                            parameters[i].name));
        }
    }
}

}  // namespace shardwise
