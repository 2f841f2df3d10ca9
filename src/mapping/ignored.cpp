#include "mapping/ignored.hpp"

#include <algorithm>
#include <charconv>
#include <map>

#include <fmt/format.h>

#include "util/digits.hpp"

namespace shardwise {
namespace {

/// The number of a layer in @p text, such as 46 in "model.layers.46.mlp".
std::optional<std::int64_t> layer_in(std::string_view text) {
    constexpr std::string_view kLayers = "layers.";
    auto at = text.find(kLayers);
    while (at != std::string_view::npos && at > 0 && text[at - 1] != '.') { at = text.find(kLayers, at + 1); }
    if (at == std::string_view::npos) { return std::nullopt; }
    auto const digits = text.substr(at + kLayers.size());
    std::int64_t layer = 0;
    auto const [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
    return error == std::errc{} ? std::optional(layer) : std::nullopt;
}

/// Whether a pattern names one layer, as in "model\.layers\.46", and not any ("layers\.\d+\.head").
bool names_a_layer(std::string_view pattern) {
    constexpr std::string_view kLayers = "layers";
    for (auto at = pattern.find(kLayers); at != std::string_view::npos; at = pattern.find(kLayers, at + 1)) {
        auto rest = pattern.substr(at + kLayers.size());
        if (rest.starts_with('\\')) { rest.remove_prefix(1); }
        if (rest.size() > 1 && rest[0] == '.' && is_digit(rest[1])) { return true; }
    }
    return false;
}

}  // namespace

Ignored::Ignored(std::vector<IgnoreRule> const& rules, std::string_view base, std::optional<std::int64_t> layers)
    : base_(base), layers_(layers) {
    std::map<std::pair<std::optional<std::string>, std::string>, std::vector<std::string>> by_scope;
    for (auto const& rule : rules) { by_scope[{rule.scope, rule.base}].push_back(rule.pattern); }
    for (auto& [where, patterns] : by_scope) {
        groups_.push_back({where.first, where.second, Pattern(std::move(patterns))});
    }
}

bool Ignored::contains(std::string_view name) const {
    return std::any_of(groups_.begin(), groups_.end(), [&](Group const& group) {
        auto const scoped = enter_scope(name, group.scope, base_);
        if (!scoped) { return false; }
        return group.base.empty() ? fits(group.pattern, scoped->rest)
                                  : fits(group.pattern, fmt::format("{}.{}", group.base, scoped->rest));
    });
}

bool Ignored::fits(Pattern const& pattern, std::string_view name) const {
    auto const match = pattern.find(name);
    if (!match) { return false; }
    if (!names_a_layer(pattern.sources()[match->source])) { return true; }
    auto const layer = layer_in(name.substr(match->begin, match->end - match->begin));
    return !layer || (layers_ && *layer >= *layers_);
}

}  // namespace shardwise
