#include <shardwise/architecture.hpp>

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

#include "mapping/architecture_data.hpp"
#include "mapping/architecture_library.hpp"
#include "mapping/assembly.hpp"
#include "mapping/model_config.hpp"
#include "mapping/size_expression.hpp"
#include "util/file.hpp"
#include "util/json_reader.hpp"
#include "util/suggest.hpp"

namespace shardwise {
namespace {

[[noreturn]] void refuse(std::string text) { throw Error(Errc::input, std::move(text)); }

[[noreturn]] void refuse_unknown(std::string const& what, std::string const& name) {
    auto const known = Architecture::known_model_types();
    auto const near = nearest(name, known);
    refuse(fmt::format(
        "{} '{}' is not known{}; --arch FILE takes a description of your own (format: configs/schema.json)", what, name,
        near.empty() ? fmt::format(" ({} model types are; shardwise --help lists them)", known.size())
                     : fmt::format(", the nearest known one is '{}'", near)));
}

bool is_file_name(std::string const& text) { return text.find('/') != std::string::npos || text.ends_with(".json"); }

std::string file_name_of(std::string const& path) { return path.substr(path.rfind('/') + 1); }

Description described_by(std::string json, std::string origin) {
    return {std::make_shared<RuleText const>(RuleText{std::move(json), std::move(origin), false}), {}, false};
}

}  // namespace

struct Architecture::Content {
    AssemblyRequest request;
    bool is_chosen_by_name = false;  ///< and so of any type and class that its file describes
    std::string config_json;         ///< what `data` was assembled for
    ArchitectureData data;

    Content(AssemblyRequest asked, bool by_name, std::string config)
        : request(std::move(asked)), is_chosen_by_name(by_name), config_json(std::move(config)) {
        data = assemble_for(config_json);
    }

    ArchitectureData assemble_for(std::string const& json) const {
        ModelConfig const config(json);
        auto chosen = request;
        auto& variant = chosen.description.variant;
        if (is_chosen_by_name) {
            if (variant.model_type.empty()) { variant.model_type = config.model_type(); }
            if (variant.model_class.empty()) { variant.model_class = config.model_class(); }
            auto const header = parse_architecture_header(chosen.description.text->json, {});
            auto const& classes = header.model_classes;
            chosen.description.is_of_class =
                std::find(classes.begin(), classes.end(), variant.model_class) != classes.end();
        }
        return assemble(chosen, config);
    }
};

Architecture::Architecture(std::shared_ptr<Content const> content) : content_(std::move(content)) {}

Architecture Architecture::parse(std::string const& json, std::string const& origin) {
    auto const description = described_by(json, origin);
    parse_description(description);  // refuses what is wrong in any variant
    return Architecture(std::make_shared<Content>(AssemblyRequest{description, {}}, true, ""));
}

Architecture Architecture::load(std::string const& name_or_file) {
    if (is_file_name(name_or_file)) { return parse(read_text(name_or_file), name_or_file); }
    auto found = ArchitectureLibrary::instance().find_name(name_or_file);
    if (!found) { refuse_unknown("architecture", name_or_file); }
    return Architecture(std::make_shared<Content>(AssemblyRequest{std::move(*found), {}}, true, ""));
}

Architecture Architecture::for_config(std::string const& config_json) {
    if (config_json.empty()) {
        refuse("the checkpoint has no config.json to tell its architecture; name one with --arch");
    }
    ModelConfig const config(config_json);
    auto found = ArchitectureLibrary::instance().find(config.model_class(), config.model_type());
    if (!found && config.model_type().empty()) {
        refuse("config.json names no 'model_type'; name an architecture with --arch");
    }
    if (!found) { refuse_unknown("config.json: model_type", config.model_type()); }
    return Architecture(std::make_shared<Content>(AssemblyRequest{std::move(*found), {}}, false, config_json));
}

Architecture Architecture::with_rules(std::string const& json, std::string const& origin) const {
    auto request = content_->request;
    request.rules.push_back({json, origin, false});
    return Architecture(
        std::make_shared<Content>(std::move(request), content_->is_chosen_by_name, content_->config_json));
}

void Architecture::add(std::string const& json, std::string const& origin, bool overwrite) {
    parse_description(described_by(json, origin));
    ArchitectureLibrary::instance().add({json, origin, true}, overwrite);
}

std::string Architecture::describe() const {
    auto const file = [](RuleText const& text) {
        return nlohmann::json{{"name", file_name_of(text.origin)}, {"text", text.json}, {"is_shared", text.is_shared}};
    };
    auto const& [description, rules] = content_->request;
    nlohmann::json json = {{"file", file(*description.text)},
                           {"model_type", description.variant.model_type},
                           {"model_class", description.variant.model_class},
                           {"is_of_class", description.is_of_class},
                           {"is_chosen_by_name", content_->is_chosen_by_name},
                           {"rules", nlohmann::json::array()}};
    for (auto const& text : rules) { json["rules"].push_back(file(text)); }
    return json.dump();
}

Architecture Architecture::restore(std::string const& description, std::string const& origin) {
    auto const document = parse_json(description, origin);
    JsonReader const json(document, origin);
    auto const file = [&](JsonReader const& value) {
        return RuleText{value["text"].text(), fmt::format("{}: {}", origin, value["name"].text()),
                        value["is_shared"].boolean()};
    };
    AssemblyRequest request;
    request.description = {std::make_shared<RuleText const>(file(json["file"])),
                           {json["model_type"].text(), json["model_class"].text()},
                           json["is_of_class"].boolean()};
    for (auto const& rules : json["rules"].array()) { request.rules.push_back(file(rules)); }
    return Architecture(std::make_shared<Content>(std::move(request), json["is_chosen_by_name"].boolean(), ""));
}

std::vector<std::string> Architecture::known_model_types() { return ArchitectureLibrary::instance().model_types(); }

std::string const& Architecture::family() const noexcept { return content_->data.family; }

std::vector<std::string> Architecture::plans() const {
    std::vector<std::string> names;
    for (auto const& [name, plan] : content_->data.plans) { names.push_back(name); }
    return names;
}

ArchitectureData const& Architecture::data() const noexcept { return content_->data; }

std::shared_ptr<ArchitectureData const> Architecture::data_for(std::string const& config_json) const {
    if (config_json == content_->config_json) { return {content_, &content_->data}; }
    return std::make_shared<ArchitectureData const>(content_->assemble_for(config_json));
}

ModelConfig const& sub_config(ModelConfig const& config, std::vector<std::string> const& path) {
    auto const* own = &config;
    for (auto const& name : path) { own = &own->sub(name); }
    return *own;
}

SizeLookup size_lookup(Component const& component, ModelConfig const& config, std::optional<std::int64_t> layer) {
    auto const* const own = &sub_config(config, component.config);
    return [&component, own, layer](std::string const& expression) {
        constexpr int kMaxNesting = 16;
        int nesting = 0;
        auto const contains = [&](std::string const& list, std::int64_t number) { return own->contains(list, number); };
        std::function<std::int64_t(std::string const&)> value_of = [&](std::string const& name) -> std::int64_t {
            if (layer && name == "layer") { return *layer; }
            if (auto const stated = own->size(name)) { return *stated; }
            auto const derived = component.sizes.find(name);
            if (derived == component.sizes.end()) {
                refuse(fmt::format("config.json has no whole number '{}', which {} needs", name, component.origin));
            }
            if (++nesting > kMaxNesting) {
                refuse(fmt::format("{}: sizes.{}: defined by itself", component.origin, name));
            }
            auto const value = evaluate_size(derived->second, value_of, contains);
            --nesting;
            return value;
        };
        return evaluate_size(expression, value_of, contains);
    };
}

namespace {

/// True if @p name is @p module or lies below it.
bool is_within(std::string const& name, std::string const& module) {
    return name.starts_with(module) && (name.size() == module.size() || name[module.size()] == '.');
}

}  // namespace

void inherit_rules(std::map<std::string, PlacementRule>& rules, std::map<std::string, PlacementRule> const& below) {
    auto const own = rules;
    for (auto const& [name, rule] : below) {
        bool const is_replaced = std::any_of(
            own.begin(), own.end(), [&inner = name](auto const& entry) { return is_within(inner, entry.first); });
        if (!is_replaced) { rules.emplace(name, rule); }
    }
}

ParallelPlan const& plan_of(ArchitectureData const& data, std::string const& name) {
    auto const found = data.plans.find(name);
    if (found != data.plans.end()) { return found->second; }
    std::vector<std::string> names;
    for (auto const& [known, plan] : data.plans) { names.push_back(known); }
    refuse(fmt::format("{} has no plan '{}'; it has {}", data.components.front().origin, name,
                       fmt::join(names, ", ")));
}

ParallelPlan flatten_plan(ArchitectureData const& data, std::string const& name) {
    ParallelPlan flat = plan_of(data, name);
    if (flat.extends.empty()) {
        // The embedding is cut with the layers, as in the reference, whose plans do not spell it out.
        if (!flat.base.empty()) {
            PlacementRule rule;
            rule.cut = Cut::first;
            rule.is_implicit = true;
            flat.base.try_emplace(std::string(kEmbeddingModule), rule);
        }
        return flat;
    }
    auto const extended = flatten_plan(data, flat.extends);
    inherit_rules(flat.base, extended.base);
    inherit_rules(flat.head, extended.head);
    return flat;
}

}  // namespace shardwise
