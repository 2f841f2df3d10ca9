#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

#include "mapping/architecture_data.hpp"
#include "mapping/operation_parser.hpp"
#include "mapping/size_expression.hpp"
#include "util/json_reader.hpp"
#include "util/suggest.hpp"

namespace shardwise {
namespace {

std::vector<std::string> normalized_targets(JsonReader const& rule) {
    std::vector<std::string> targets;
    for (auto const& target : rule["to"].texts()) { targets.push_back(normalize_target(target)); }
    if (targets.empty()) { rule["to"].refuse("expected at least one target"); }
    return targets;
}

Pattern pattern_of(JsonReader const& sources) {
    auto texts = sources.texts();
    if (texts.empty()) { sources.refuse("expected at least one pattern"); }
    try {
        return Pattern(std::move(texts));
    } catch (Error const& error) { sources.refuse(error.what()); }
}

std::string escaped(std::string_view text) {
    std::string result;
    for (char const c : text) {
        result +=
            std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' ? std::string(1, c) : fmt::format("\\{}", c);
    }
    return result;
}

/// A module path put in front of names, or taken away; `within` is a path that stays in front of it.
Transform parse_prefix_rule(JsonReader const& rule, bool adds) {
    auto const* const key = adds ? "add_prefix" : "remove_prefix";
    rule.allow_only({key, "within", "scope"});
    auto const prefix = rule[key].text();
    auto const within_value = rule.find("within");
    std::string const within = within_value ? fmt::format("{}.", within_value->text()) : std::string();
    auto const source = adds ? fmt::format("^{}(?!{}\\.)(.+)", escaped(within), escaped(prefix))
                             : fmt::format("^{}{}\\.(.+)", escaped(within), escaped(prefix));
    auto target = adds ? fmt::format("{}{}.\\1", within, prefix) : fmt::format("{}\\1", within);
    return {Transform::Kind::rename, Pattern({source}), {std::move(target)}, {}, 0, {}, 0};
}

Transform parse_converter(JsonReader const& rule) {
    rule.allow_only({"convert", "to", "ops", "scope"});
    Transform transform{Transform::Kind::convert, pattern_of(rule["convert"]), normalized_targets(rule), {}, 0, {}, 0};
    for (auto const& op : rule["ops"].array()) { transform.operations.push_back(parse_operation(op)); }
    if (transform.operations.empty()) {
        rule["ops"].refuse("a converter needs at least one operation; use 'rename' for names alone");
    }
    bool const is_many_to_many = transform.pattern.sources().size() > 1 && transform.targets.size() > 1;
    if (is_many_to_many && std::ranges::none_of(transform.operations, supports_many_to_many)) {
        rule.refuse("a converter has one source or one target, this one has several of both");
    }
    return transform;
}

Transform parse_rename(JsonReader const& rule, std::string const& kind) {
    if (kind == "rename_offset") {
        rule.allow_only({kind, "to", "offset", "scope"});
    } else {
        rule.allow_only({kind, "to", "scope"});
    }
    Transform transform{Transform::Kind::rename, pattern_of(rule[kind]), normalized_targets(rule), {}, 0, {}, 0};
    if (kind == "rename_group") {
        transform.kind = Transform::Kind::group_rename;
        if (transform.targets.size() != transform.pattern.sources().size()) {
            rule["to"].refuse("expected one target for each pattern");
        }
    } else if (transform.targets.size() != 1) {
        rule["to"].refuse("expected one target");
    }
    if (kind == "rename_offset") {
        transform.kind = Transform::Kind::offset_rename;
        transform.offset = rule["offset"].integer();
    }
    return transform;
}

Transform parse_transform(JsonReader const& rule) {
    auto transform = [&] {
        if (rule.find("convert")) { return parse_converter(rule); }
        for (auto const* kind : {"rename", "rename_group", "rename_offset"}) {
            if (rule.find(kind)) { return parse_rename(rule, kind); }
        }
        if (rule.find("add_prefix")) { return parse_prefix_rule(rule, true); }
        if (rule.find("remove_prefix")) { return parse_prefix_rule(rule, false); }
        rule.refuse(
            "expected one of the keys convert, rename, rename_group, rename_offset, add_prefix, remove_prefix, use");
    }();
    if (auto const scope = rule.find("scope")) { transform.scope = scope->text(); }
    return transform;
}

Heads parse_heads(JsonReader const& value) {
    auto const text = value.text();
    if (text == "query") { return Heads::query; }
    if (text == "key_value") { return Heads::key_value; }
    value.refuse(fmt::format("expected 'query' or 'key_value', found '{}'", text));
}

PlacementRule::Block parse_block(JsonReader const& block) {
    if (block.is_text()) { return {block.text(), Heads::none}; }
    block.allow_only({"size", "heads"});
    auto const heads = block.find("heads");
    return {block["size"].text(), heads ? parse_heads(*heads) : Heads::none};
}

PlacementRule parse_rule(JsonReader const& rule) {
    PlacementRule result;
    if (rule.is_text()) {
        try {
            result.cut = cut_of_style(rule.text());
        } catch (Error const& error) { rule.refuse(error.what()); }
        return result;
    }
    rule.allow_only({"shard", "packed"});
    if (rule.find("shard")) {
        rule.allow_only({"shard"});
        result.cut = Cut::shard;
        result.dim = static_cast<std::uint32_t>(parse_dim(rule, "shard", 0));
        return result;
    }
    auto const packed = rule["packed"];
    packed.allow_only({"dim", "blocks"});
    result.cut = Cut::packed;
    result.dim = static_cast<std::uint32_t>(parse_dim(packed, "dim", 0));
    for (auto const& block : packed["blocks"].array()) { result.blocks.push_back(parse_block(block)); }
    if (result.blocks.empty()) { packed["blocks"].refuse("expected at least one block"); }
    return result;
}

std::map<std::string, PlacementRule> parse_rules(JsonReader const& plan, std::string const& key) {
    std::map<std::string, PlacementRule> rules;
    if (auto const object = plan.find(key)) {
        for (auto const& [name, rule] : object->members()) { rules.emplace(name, parse_rule(rule)); }
    }
    return rules;
}

bool deals_experts(JsonReader const& plan) {
    for (auto const* key : {"base", "head"}) {
        auto const rules = plan.find(key);
        if (!rules) { continue; }
        for (auto const& [name, rule] : rules->members()) {
            if (rule.is_text() && is_expert_style(rule.text())) { return true; }
        }
    }
    return false;
}

ParallelPlan parse_plan(JsonReader const& plan) {
    plan.allow_only({"about", "extends", "base", "head"});
    auto const extends = plan.find("extends");
    ParallelPlan parsed = {extends ? extends->text() : std::string(), parse_rules(plan, "base"),
                           parse_rules(plan, "head")};
    if (deals_experts(plan)) {
        for (auto* rules : {&parsed.base, &parsed.head}) {
            for (auto& [name, rule] : *rules) { rule.axis = MeshAxis::ep; }
        }
    }
    return parsed;
}

PipelineRules parse_pipeline(JsonReader const& pipeline) {
    pipeline.allow_only({"layers", "first", "last"});
    PipelineRules rules;
    if (auto const layers = pipeline.find("layers")) { rules.layers = layers->texts(); }
    if (auto const first = pipeline.find("first")) { rules.first = first->texts(); }
    if (auto const last = pipeline.find("last")) { rules.last = last->texts(); }
    return rules;
}

std::map<std::string, Heads> parse_head_lists(JsonReader const& document) {
    std::map<std::string, Heads> heads;
    auto const lists = document.find("heads");
    if (!lists) { return heads; }
    lists->allow_only({"query", "key_value"});
    for (auto const& [kind, names] : lists->members()) {
        for (auto const& name : names.texts()) {
            heads.emplace(name, kind == "query" ? Heads::query : Heads::key_value);
        }
    }
    return heads;
}

/// A shape, or an object with shape, dtype and whether some models lack the parameter.
ParameterPattern parse_parameter(std::string const& name, JsonReader const& value) {
    ParameterPattern pattern{name, {}, {}, false, {}};
    if (value.is_object()) {
        value.allow_only({"shape", "dtype", "optional", "if"});
        if (auto const shape = value.find("shape")) { pattern.shape = shape->texts(); }
        if (auto const dtype = value.find("dtype")) {
            pattern.dtype = parse_dtype(dtype->text());
            if (!pattern.dtype) { dtype->refuse("unknown dtype"); }
        }
        auto const optional = value.find("optional");
        pattern.is_optional = optional && optional->boolean();
        if (auto const condition = value.find("if")) { pattern.condition = condition->text(); }
    } else {
        pattern.shape = value.texts();
    }
    if (pattern.shape && pattern.shape->size() > Shape::kMaxRank) {
        value.refuse(fmt::format("more than {} extents", Shape::kMaxRank));
    }
    try {
        names_of_pattern(name, [](std::string const& expression) {
            return evaluate_size(expression, [](std::string const&) { return std::int64_t{1}; });
        });
    } catch (Error const& error) { value.refuse(error.what()); }
    return pattern;
}

/// Every chain of `extends` must end in a plan that extends nothing.
void check_extensions(JsonReader const& where, std::map<std::string, ParallelPlan> const& plans) {
    for (auto const& [name, plan] : plans) {
        std::string const* at = &plan.extends;
        for (std::size_t steps = 0; !at->empty(); ++steps) {
            auto const next = plans.find(*at);
            if (next == plans.end()) {
                where.refuse(fmt::format("'{}' extends '{}', which is no plan of this file", name, *at));
            }
            if (steps == plans.size()) { where.refuse(fmt::format("'{}' extends itself", name)); }
            at = &next->second.extends;
        }
    }
}

std::vector<Transform> parse_transforms(JsonReader const& document, UsedTransforms const& used) {
    std::vector<Transform> transforms;
    auto const rules = document.find("transforms");
    if (!rules) { return transforms; }
    for (auto const& rule : rules->array()) {
        auto const use = rule.find("use");
        if (!use) {
            transforms.push_back(parse_transform(rule));
            continue;
        }
        rule.allow_only({"use"});
        if (!used) { use->refuse("nothing is known here that could be used"); }
        try {
            auto more = used(use->text());
            std::move(more.begin(), more.end(), std::back_inserter(transforms));
        } catch (Error const& error) { use->refuse(fmt::format("'{}': {}", use->text(), error.what())); }
    }
    return transforms;
}

std::vector<Part> parse_parts(JsonReader const& document) {
    std::vector<Part> parts;
    auto const object = document.find("parts");
    if (!object) { return parts; }
    for (auto const& [module, value] : object->members()) {
        value.allow_only({"config", "model_type", "head"});
        auto const model_type = value.find("model_type");
        parts.push_back({module, value["config"].texts(), model_type ? model_type->text() : std::string(),
                         parse_flag(value, "head")});
    }
    return parts;
}

KeepInFp32 parse_keep_in_fp32(JsonReader const& document) {
    auto const lists = document.find("keep_in_fp32");
    if (!lists) { return {}; }
    lists->allow_only({"float16", "float16_and_bfloat16"});
    return {optional_texts(*lists, "float16"), optional_texts(*lists, "float16_and_bfloat16")};
}

std::vector<IgnoreRule> parse_ignore(JsonReader const& document) {
    auto const patterns = document.find("ignore");
    if (!patterns) { return {}; }
    if (!patterns->texts().empty()) { pattern_of(*patterns); }  // only to refuse what is no pattern
    std::vector<IgnoreRule> rules;
    for (auto& pattern : patterns->texts()) { rules.push_back({std::move(pattern), {}, {}}); }
    return rules;
}

/// An object, or a list of objects where their order matters.
std::vector<Tie> parse_ties(JsonReader const& document) {
    std::vector<Tie> ties;
    auto const tied = document.find("tied");
    if (!tied) { return ties; }
    auto const entries = tied->is_array() ? tied->array() : std::vector<JsonReader>{*tied};
    for (auto const& entry : entries) {
        for (auto const& [dependent, source] : entry.members()) {
            auto const text = source.text();
            for (auto const& pattern : {dependent, text}) {
                try {
                    Pattern const checked({pattern});
                } catch (Error const& error) { source.refuse(error.what()); }
            }
            ties.push_back({dependent, text});
        }
    }
    return ties;
}

ArchitectureData parse_document(JsonReader const& document, UsedTransforms const& used) {
    document.allow_only({"$schema",        "family",       "about", "model_types", "model_classes",
                         "base",           "base_class",   "parts", "sizes",       "ignore",
                         "tied",           "keep_in_fp32", "heads", "parameters",  "whole_classes",
                         "ignore_missing", "transforms",   "plans", "pipeline",    "variants"});
    ArchitectureData data;
    auto& component = data.components.emplace_back();
    component.origin = document.path();
    data.family = document["family"].text();
    data.model_types = document["model_types"].texts();
    data.model_classes = optional_texts(document, "model_classes");
    data.ignore = parse_ignore(document);
    if (auto const base = document.find("base")) { data.base = base->text(); }
    if (auto const base_class = document.find("base_class")) { data.base_class = base_class->text(); }
    data.parts = parse_parts(document);
    if (auto const sizes = document.find("sizes")) { component.sizes = sizes->text_members(); }
    data.tied = parse_ties(document);
    data.keep_in_fp32 = parse_keep_in_fp32(document);
    data.heads = parse_head_lists(document);
    data.whole_classes = optional_texts(document, "whole_classes");
    data.ignore_missing = optional_texts(document, "ignore_missing");
    if (auto const parameters = document.find("parameters")) {
        for (auto const& [name, value] : parameters->members()) {
            data.parameters.push_back(parse_parameter(name, value));
        }
    }
    if (auto const pipeline = document.find("pipeline")) { data.pipeline = parse_pipeline(*pipeline); }
    data.transforms = parse_transforms(document, used);
    for (auto const& [name, plan] : document["plans"].members()) { data.plans.emplace(name, parse_plan(plan)); }
    check_extensions(document["plans"], data.plans);
    return data;
}

/// Key of the variant that holds for each name that has one. A key is one name or several, as in "A, B": each must be
/// one of the types or classes that the file describes.
std::map<std::string, std::string> variant_keys(JsonReader const& document) {
    auto const variants = document.find("variants");
    if (!variants) { return {}; }
    auto described = document["model_types"].texts();
    auto const classes = optional_texts(document, "model_classes");
    described.insert(described.end(), classes.begin(), classes.end());
    std::map<std::string, std::string> keys;
    for (auto const& [key, variant] : variants->members()) {
        variant.allow_only({"about", "base", "base_class", "parts", "sizes", "ignore", "tied", "keep_in_fp32", "heads",
                            "parameters", "whole_classes", "ignore_missing", "transforms", "plans", "pipeline"});
        for (std::string_view rest = key; !rest.empty();) {
            auto const name = std::string(rest.substr(0, rest.find(", ")));
            rest.remove_prefix(std::min(name.size() + 2, rest.size()));
            if (std::find(described.begin(), described.end(), name) == described.end()) {
                variant.refuse(fmt::format("'{}' is neither among the file's model_types nor its model_classes", name));
            }
            if (!keys.emplace(name, key).second) { variant.refuse(fmt::format("'{}' has another variant", name)); }
        }
    }
    return keys;
}

/// The document with the keys of some of its variants in place of its own, and what errors call that.
std::pair<nlohmann::json, std::string> with_variants(nlohmann::json document, std::string const& origin,
                                                     std::vector<std::string> const& keys) {
    std::string called = origin;
    for (auto const& key : keys) {
        auto const variant = document["variants"][key];
        document.update(variant);
        called += fmt::format(" ({})", key);
    }
    return {std::move(document), std::move(called)};
}

}  // namespace

ArchitectureHeader parse_architecture_header(std::string const& json, std::string const& origin) {
    auto const parsed = parse_json(json, origin);
    JsonReader const document(parsed, origin);
    return {document["family"].text(), document["model_types"].texts(), optional_texts(document, "model_classes")};
}

ArchitectureData parse_architecture(std::string const& json, std::string const& origin, Variant const& variant,
                                    UsedTransforms const& used) {
    auto const parsed = parse_json(json, origin);
    JsonReader const document(parsed, origin);
    auto const variants = variant_keys(document);
    auto const parse = [&](std::vector<std::string> const& keys) {
        auto const [merged, called] = with_variants(parsed, origin, keys);
        return parse_document(JsonReader(merged, called), used);
    };
    std::vector<std::string> chosen;
    for (auto const& name : {variant.model_type, variant.model_class}) {
        if (auto const found = variants.find(name); found != variants.end()) { chosen.push_back(found->second); }
    }
    if (variant.model_type.empty() && variant.model_class.empty()) {
        for (auto const& [name, key] : variants) { parse({key}); }  // only to refuse what is wrong in them
    }
    return parse(chosen);
}

}  // namespace shardwise
