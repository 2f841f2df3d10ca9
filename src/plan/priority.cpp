#include "plan/priority.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <string_view>

#include <fmt/format.h>
#include <fnmatch.h>

#include <shardwise/error.hpp>

#include "util/suggest.hpp"

namespace shardwise {
namespace {

constexpr std::string_view kFirstLayers = "@first-layers";
constexpr std::int64_t kDefaultLayers = 4;

struct Preset {
    std::string_view name;
    std::array<std::string_view, 4> fragments;
};

/// Fragments of parameters' names.
constexpr std::array kPresets = {
    Preset{"@embedding", {"embed", "wte.", "wpe.", "tok_emb"}},
    Preset{"@attention", {"attn", "attention"}},
    Preset{"@lm_head", {"lm_head"}},
};

std::string to_lower(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

/// The first part of a dotted name that is a number; nothing if none is.
std::optional<std::int64_t> layer_of(std::string_view name) {
    while (!name.empty()) {
        auto const part = name.substr(0, name.find('.'));
        name.remove_prefix(std::min(name.size(), part.size() + 1));
        std::int64_t number = 0;
        auto const [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
        if (error == std::errc{} && end == part.data() + part.size()) { return number; }
    }
    return std::nullopt;
}

std::int64_t read_layers(std::string const& pattern) {
    if (pattern == kFirstLayers) { return kDefaultLayers; }
    auto const digits = std::string_view(pattern).substr(kFirstLayers.size() + 1);
    std::int64_t layers = 0;
    auto const [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layers);
    if (error != std::errc{} || end != digits.data() + digits.size() || layers < 1) {
        throw Error(Errc::usage, fmt::format("--priority {}: expected a number of layers from 1 up", pattern));
    }
    return layers;
}

}  // namespace

PriorityClasses::Class PriorityClasses::make_class(std::string const& pattern) {
    if (!pattern.starts_with('@')) { return {.pattern = pattern}; }
    if (pattern == kFirstLayers || pattern.starts_with(std::string(kFirstLayers) + "=")) {
        return {.pattern = {}, .layers = read_layers(pattern)};
    }
    std::vector<std::string> known = {std::string(kFirstLayers)};
    for (auto const& preset : kPresets) {
        known.emplace_back(preset.name);
        if (pattern != preset.name) { continue; }
        Class result{.pattern = {}};
        for (auto const fragment : preset.fragments) {
            if (!fragment.empty()) { result.fragments.emplace_back(fragment); }
        }
        return result;
    }
    auto const near = nearest(pattern, known);
    throw Error(Errc::usage, fmt::format("--priority {}: no such preset; {}", pattern,
                                         near.empty() ? fmt::format("there are {}", fmt::join(known, ", "))
                                                      : fmt::format("did you mean {}?", near)));
}

bool PriorityClasses::is_of(std::string const& name, Class const& candidate) {
    if (!candidate.pattern.empty()) { return ::fnmatch(candidate.pattern.c_str(), name.c_str(), 0) == 0; }
    if (candidate.layers > 0) {
        auto const layer = layer_of(name);
        return layer && *layer < candidate.layers;
    }
    auto const lower = to_lower(name);
    return std::ranges::any_of(candidate.fragments,
                               [&](std::string const& fragment) { return lower.find(fragment) != std::string::npos; });
}

PriorityClasses::PriorityClasses(std::span<std::string const> patterns) {
    for (auto const& pattern : patterns) { classes_.push_back(make_class(pattern)); }
}

std::uint32_t PriorityClasses::class_of(std::string const& name) const {
    auto const found = std::ranges::find_if(classes_, [&](Class const& c) { return is_of(name, c); });
    return static_cast<std::uint32_t>(found - classes_.begin());
}

}  // namespace shardwise
