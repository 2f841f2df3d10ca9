#include <shardwise/architecture.hpp>

#include <algorithm>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/architecture_data.hpp"
#include "mapping/embedded_configs.hpp"
#include "mapping/model_config.hpp"
#include "mapping/size_expression.hpp"
#include "util/file.hpp"
#include "util/suggest.hpp"

namespace shardwise {
namespace {

constexpr std::string_view kLegacyFile = "legacy.json";

[[noreturn]] void refuse(std::string text) { throw Error(Errc::input, std::move(text)); }

ArchitectureData parse_built_in(EmbeddedConfig const& config) {
    auto data = parse_architecture(std::string(config.json), std::string(config.name));
    data.text = config.json;
    data.is_built_in = true;
    return data;
}

/// Every embedded architecture but the legacy renames, parsed once.
std::vector<ArchitectureData> const& known_architectures() {
    static std::vector<ArchitectureData> const known = [] {
        std::vector<ArchitectureData> parsed;
        for (auto const& config : embedded_configs()) {
            if (config.name != kLegacyFile) { parsed.push_back(parse_built_in(config)); }
        }
        return parsed;
    }();
    return known;
}

/// The renames that come after every architecture's own.
std::vector<Transform> legacy_transforms() {
    for (auto const& config : embedded_configs()) {
        if (config.name == kLegacyFile) { return parse_built_in(config).transforms; }
    }
    return {};
}

EmbeddedConfig const& embedded_file(std::string const& name) {
    auto const configs = embedded_configs();
    return *std::find_if(configs.begin(), configs.end(),
                         [&](EmbeddedConfig const& config) { return config.name == name; });
}

/// With the legacy renames, which apply to every checkpoint.
std::shared_ptr<ArchitectureData const> complete(ArchitectureData data) {
    for (auto& transform : legacy_transforms()) { data.transforms.push_back(std::move(transform)); }
    return std::make_shared<ArchitectureData const>(std::move(data));
}

bool contains(std::vector<std::string> const& list, std::string const& item) {
    return std::find(list.begin(), list.end(), item) != list.end();
}

/// The known architecture that @p fits accepts; null if none does.
template <class Predicate>
ArchitectureData const* find_known(Predicate fits) {
    auto const& known = known_architectures();
    auto const found = std::find_if(known.begin(), known.end(), fits);
    return found == known.end() ? nullptr : &*found;
}

[[noreturn]] void refuse_unknown(std::string const& what, std::string const& name) {
    auto const known = Architecture::known_model_types();
    auto const near = nearest(name, known);
    refuse(fmt::format(
        "{} '{}' is not known{}; --arch FILE takes a description of your own (format: configs/schema.json)", what, name,
        near.empty() ? fmt::format(" (known: {})", fmt::join(known, ", "))
                     : fmt::format(", the nearest known one is '{}'", near)));
}

bool is_file_name(std::string const& text) { return text.find('/') != std::string::npos || text.ends_with(".json"); }

}  // namespace

Architecture Architecture::parse(std::string const& json, std::string const& origin) {
    auto data = parse_architecture(json, origin);
    data.text = json;
    return Architecture(complete(std::move(data)));
}

Architecture Architecture::load(std::string const& name_or_file) {
    if (is_file_name(name_or_file)) { return parse(read_text(name_or_file), name_or_file); }
    auto const* found = find_known(
        [&](auto const& data) { return data.family == name_or_file || contains(data.model_types, name_or_file); });
    if (found == nullptr) { refuse_unknown("architecture", name_or_file); }
    return Architecture(complete(parse_built_in(embedded_file(found->origin))));
}

Architecture Architecture::for_config(std::string const& config_json) {
    if (config_json.empty()) {
        refuse("the checkpoint has no config.json to tell its architecture; name one with --arch");
    }
    ModelConfig const config(config_json);
    auto const* found =
        find_known([&](auto const& data) { return contains(data.model_classes, config.model_class()); });
    if (found == nullptr) {
        found = find_known([&](auto const& data) { return contains(data.model_types, config.model_type()); });
    }
    if (found == nullptr && config.model_type().empty()) {
        refuse("config.json names no 'model_type'; name an architecture with --arch");
    }
    if (found == nullptr) { refuse_unknown("config.json: model_type", config.model_type()); }
    return Architecture(complete(parse_built_in(embedded_file(found->origin))));
}

std::vector<std::string> Architecture::known_model_types() {
    std::vector<std::string> types;
    for (auto const& data : known_architectures()) {
        types.insert(types.end(), data.model_types.begin(), data.model_types.end());
    }
    std::sort(types.begin(), types.end());
    return types;
}

std::string const& Architecture::family() const noexcept { return data_->family; }

std::vector<std::string> Architecture::plans() const {
    std::vector<std::string> names;
    for (auto const& [name, plan] : data_->plans) { names.push_back(name); }
    return names;
}

SizeLookup size_lookup(ArchitectureData const& data, ModelConfig const& config) {
    return [&data, &config](std::string const& expression) {
        constexpr int kMaxNesting = 16;
        int nesting = 0;
        std::function<std::int64_t(std::string const&)> value_of = [&](std::string const& name) -> std::int64_t {
            if (auto const stated = config.size(name)) { return *stated; }
            auto const derived = data.sizes.find(name);
            if (derived == data.sizes.end()) {
                refuse(fmt::format("config.json has no whole number '{}', which {} needs", name, data.origin));
            }
            if (++nesting > kMaxNesting) { refuse(fmt::format("{}: sizes.{}: defined by itself", data.origin, name)); }
            auto const value = evaluate_size(derived->second, value_of);
            --nesting;
            return value;
        };
        return evaluate_size(expression, value_of);
    };
}

namespace {

/// True if @p name is @p module or lies below it.
bool is_within(std::string const& name, std::string const& module) {
    return name.starts_with(module) && (name.size() == module.size() || name[module.size()] == '.');
}

void inherit(std::map<std::string, PlacementRule>& rules, std::map<std::string, PlacementRule> const& inherited) {
    auto const own = rules;
    for (auto const& [name, rule] : inherited) {
        bool const is_replaced = std::any_of(
            own.begin(), own.end(), [&inner = name](auto const& entry) { return is_within(inner, entry.first); });
        if (!is_replaced) { rules.emplace(name, rule); }
    }
}

}  // namespace

ParallelPlan flatten_plan(ArchitectureData const& data, std::string const& name) {
    auto const found = data.plans.find(name);
    if (found == data.plans.end()) {
        std::vector<std::string> names;
        for (auto const& [known, plan] : data.plans) { names.push_back(known); }
        refuse(fmt::format("{} has no plan '{}'; it has {}", data.origin, name, fmt::join(names, ", ")));
    }
    ParallelPlan flat = found->second;
    if (flat.extends.empty()) {
        // The embedding is cut with the layers, as in the reference, whose plans do not spell it out.
        if (!flat.base.empty()) {
            flat.base.try_emplace(std::string(kEmbeddingModule), PlacementRule{Cut::first, 0, {}});
        }
        return flat;
    }
    auto const extended = flatten_plan(data, flat.extends);
    inherit(flat.base, extended.base);
    inherit(flat.head, extended.head);
    return flat;
}

}  // namespace shardwise
