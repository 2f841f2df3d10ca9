#include "mapping/transform.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

/// Only the first group exists for plain rules and converters; the reference leaves `\2` as text.
std::span<std::string_view const> usable_groups(Transform const& transform, PatternMatch const& match) {
    std::span<std::string_view const> const groups = match.groups;
    return transform.kind == Transform::Kind::group_rename ? groups
                                                           : groups.first(std::min<std::size_t>(groups.size(), 1));
}

std::string shifted_number(std::string_view digits, std::int64_t offset) {
    std::int64_t number = 0;
    auto const [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc{} || end != digits.data() + digits.size() || number + offset < 0) {
        throw Error(Errc::input, fmt::format("'{}' plus {} is no index", digits, offset));
    }
    return std::to_string(number + offset);
}

std::string replacement(Transform const& transform, PatternMatch const& match) {
    switch (transform.kind) {
        case Transform::Kind::group_rename: return substitute_groups(transform.targets[match.source], match.groups);
        case Transform::Kind::offset_rename: {
            if (match.groups.empty()) { throw Error(Errc::input, "an index offset rule needs a capture group"); }
            auto const number = shifted_number(match.groups.front(), transform.offset);
            std::string_view const group = number;
            return substitute_groups(transform.targets.front(), {&group, 1});
        }
        default: return substitute_groups(transform.targets.front(), usable_groups(transform, match));
    }
}

bool is_guard_met(Transform const& transform, std::span<std::string const> names, std::string_view base_prefix) {
    if (transform.kind != Transform::Kind::group_rename) { return true; }
    return std::any_of(names.begin(), names.end(), [&](std::string const& name) {
        auto const scoped = enter_scope(name, transform.scope, base_prefix);
        auto const match = scoped ? transform.pattern.find(scoped->rest) : std::nullopt;
        return match && match->source == 0;
    });
}

}  // namespace

std::string as_prefix(std::string_view path) {
    return path.empty() ? std::string() : fmt::format("{}.", path);
}

std::optional<ScopedName> enter_scope(std::string_view name, std::optional<std::string> const& scope,
                                      std::string_view base_prefix) {
    if (!scope) { return ScopedName{{}, name}; }
    auto const below = as_prefix(*scope);
    for (auto const& prefix : {as_prefix(base_prefix) + below, below}) {
        if (name.starts_with(prefix)) { return ScopedName{name.substr(0, prefix.size()), name.substr(prefix.size())}; }
    }
    return std::nullopt;
}

void rename_all(Transform const& transform, std::span<std::string> names, std::string_view base_prefix) {
    if (!is_guard_met(transform, names, base_prefix)) { return; }
    for (auto& name : names) {
        auto const scoped = enter_scope(name, transform.scope, base_prefix);
        if (!scoped) { continue; }
        auto const match = transform.pattern.find(scoped->rest);
        if (!match) { continue; }
        try {
            name = fmt::format("{}{}{}{}", scoped->scope, scoped->rest.substr(0, match->begin),
                               replacement(transform, *match), scoped->rest.substr(match->end));
        } catch (Error const& error) { throw error.while_(fmt::format("renaming {}", name)); }
    }
}

std::optional<ConverterMatch> find_converter(std::span<Transform const> transforms, std::string_view name,
                                             std::string_view base_prefix) {
    for (std::size_t i = 0; i < transforms.size(); ++i) {
        auto const& transform = transforms[i];
        if (transform.kind != Transform::Kind::convert) { continue; }
        auto const scoped = enter_scope(name, transform.scope, base_prefix);
        if (!scoped) { continue; }
        auto const match = transform.pattern.find(scoped->rest);
        if (!match) { continue; }
        ConverterPlace place;
        place.transform = i;
        place.prefix = fmt::format("{}{}", scoped->scope, scoped->rest.substr(0, match->begin));
        place.suffix = scoped->rest.substr(match->end);
        for (auto const group : usable_groups(transform, *match)) { place.groups.emplace_back(group); }
        return ConverterMatch{std::move(place), static_cast<std::uint32_t>(match->source),
                              std::string(match->star.value_or(""))};
    }
    return std::nullopt;
}

std::string output_name(ConverterPlace const& place, std::string_view target) {
    std::vector<std::string_view> const groups(place.groups.begin(), place.groups.end());
    return fmt::format("{}{}{}", place.prefix, substitute_groups(target, groups), place.suffix);
}

}  // namespace shardwise
