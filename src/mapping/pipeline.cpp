#include "mapping/pipeline.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace shardwise {
namespace {

/// What follows module @p path and a dot in @p name; nothing if the name lies elsewhere.
std::optional<std::string_view> below(std::string_view name, std::string_view path) {
    bool const is_below = name.size() > path.size() && name.starts_with(path) && name[path.size()] == '.';
    if (!is_below) { return std::nullopt; }
    return name.substr(path.size() + 1);
}

bool lies_in(std::string_view name, std::vector<std::string> const& modules) {
    return std::any_of(modules.begin(), modules.end(),
                       [&](std::string const& module) { return name == module || below(name, module).has_value(); });
}

}  // namespace

Pipeline::Pipeline(PipelineRules const& rules, std::string base, std::int64_t stages,
                   std::optional<std::int64_t> layers, std::span<std::string const> names)
    : rules_(rules), base_(std::move(base)), stages_(stages) {
    for (auto const& name : names) {
        if (auto const layer = layer_of(name)) {
            has_layers_ = true;
            layers_ = std::max(layers_, *layer + 1);
        }
    }
    layers_ = layers.value_or(layers_);
}

std::optional<std::int64_t> Pipeline::layer_of(std::string_view name) const {
    name = below(name, base_).value_or(name);
    for (auto const& path : rules_.layers) {
        auto const rest = below(name, path);
        if (!rest) { continue; }
        std::int64_t layer = 0;
        auto const [end, error] = std::from_chars(rest->data(), rest->data() + rest->size(), layer);
        bool const is_number = error == std::errc{} && layer >= 0 && end != rest->data() + rest->size() && *end == '.';
        if (is_number) { return layer; }
    }
    return std::nullopt;
}

std::vector<std::int64_t> Pipeline::wanted_at(std::string_view name) const {
    if (auto const layer = layer_of(name)) {
        auto const share = layers_ / stages_;
        return {share == 0 ? stages_ - 1 : std::min(*layer / share, stages_ - 1)};
    }
    auto const inside = below(name, base_).value_or(name);
    if (lies_in(inside, rules_.first)) { return {0}; }
    if (lies_in(inside, rules_.last)) { return {stages_ - 1}; }
    return {};
}

std::vector<std::int64_t> Pipeline::stages_of(std::string const& name, std::span<std::string const> aliases) const {
    if (stages_ == 1) { return {}; }
    auto stages = wanted_at(name);
    for (auto const& alias : aliases) {
        auto const more = wanted_at(alias);
        if (stages.empty() || more.empty()) { return {}; }
        stages.insert(stages.end(), more.begin(), more.end());
    }
    std::sort(stages.begin(), stages.end());
    stages.erase(std::unique(stages.begin(), stages.end()), stages.end());
    if (static_cast<std::int64_t>(stages.size()) == stages_) { stages.clear(); }
    return stages;
}

std::vector<std::string> Pipeline::warnings() const {
    if (stages_ == 1) { return {}; }
    if (!has_layers_) {
        return {fmt::format("--pp {}: no parameter lies in {}, so every stage holds all layers", stages_,
                            fmt::join(rules_.layers, " or "))};
    }
    if (layers_ < stages_) {
        return {fmt::format("--pp {}: {} layers are too few, the last stage holds them all", stages_, layers_)};
    }
    return {};
}

}  // namespace shardwise
