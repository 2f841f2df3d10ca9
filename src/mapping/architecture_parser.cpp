#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

#include "mapping/architecture_data.hpp"
#include "util/json_reader.hpp"
#include "util/suggest.hpp"

namespace shardwise {
namespace {

std::size_t dim_of(JsonReader const& op, std::string const& key, std::size_t fallback) {
    auto const value = op.find(key);
    if (!value) { return fallback; }
    auto const dim = value->integer();
    if (dim < 0 || dim >= static_cast<std::int64_t>(Shape::kMaxRank)) {
        value->refuse(fmt::format("expected a dimension from 0 to {}", Shape::kMaxRank - 1));
    }
    return static_cast<std::size_t>(dim);
}

bool flag_of(JsonReader const& op, std::string const& key) {
    auto const value = op.find(key);
    return value && value->boolean();
}

std::vector<std::string> texts_of(JsonReader const& op, std::string const& key) {
    auto const value = op.find(key);
    return value ? value->texts() : std::vector<std::string>{};
}

PermuteForRope parse_permute(JsonReader const& op) {
    op.allow_only({"op", "heads", "kv_heads", "names", "kv_names", "inverse"});
    PermuteForRope permute;
    if (auto const heads = op.find("heads")) { permute.heads = heads->text(); }
    if (auto const heads = op.find("kv_heads")) { permute.kv_heads = heads->text(); }
    permute.names = texts_of(op, "names");
    permute.kv_names = texts_of(op, "kv_names");
    permute.inverse = flag_of(op, "inverse");
    return permute;
}

Operation parse_operation(JsonReader const& op) {
    static std::vector<std::string> const kNames = {"Chunk",           "Split",     "Concatenate", "MergeModulelist",
                                                    "SplitModulelist", "Transpose", "Interleave",  "PermuteForRope"};
    auto const name = op["op"].text();
    if (name == "PermuteForRope") { return parse_permute(op); }
    if (name == "Transpose") {
        op.allow_only({"op", "dim0", "dim1"});
        return Transpose{dim_of(op, "dim0", 0), dim_of(op, "dim1", 1)};
    }
    if (name == "Interleave") {
        op.allow_only({"op", "dim", "inverse"});
        return Interleave{dim_of(op, "dim", 0), flag_of(op, "inverse")};
    }
    if (name == "Split") {
        op.allow_only({"op", "dim", "sizes"});
        return Split{dim_of(op, "dim", 0), op["sizes"].texts()};
    }
    if (std::find(kNames.begin(), kNames.end(), name) == kNames.end()) {
        auto const near = nearest(name, kNames);
        op["op"].refuse(fmt::format("unknown operation '{}'; {}", name,
                                    near.empty() ? fmt::format("known are {}", fmt::join(kNames, ", "))
                                                 : fmt::format("the nearest known one is '{}'", near)));
    }
    auto const dim = dim_of(op, "dim", 0);
    if (name == "Concatenate" || name == "MergeModulelist") {
        op.allow_only({"op", "dim", "count"});
        auto const count_value = op.find("count");
        auto count = count_value ? count_value->text() : std::string();
        if (name == "Concatenate") { return Concatenate{dim, std::move(count)}; }
        return MergeModulelist{dim, std::move(count)};
    }
    op.allow_only({"op", "dim"});
    if (name == "Chunk") { return Chunk{dim}; }
    return SplitModulelist{dim};
}

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
    return {Transform::Kind::rename, Pattern({source}), {std::move(target)}, {}, 0, {}};
}

Transform parse_converter(JsonReader const& rule) {
    rule.allow_only({"convert", "to", "ops", "scope"});
    Transform transform{Transform::Kind::convert, pattern_of(rule["convert"]), normalized_targets(rule), {}, 0, {}};
    for (auto const& op : rule["ops"].array()) { transform.operations.push_back(parse_operation(op)); }
    if (transform.operations.empty()) {
        rule["ops"].refuse("a converter needs at least one operation; use 'rename' for names alone");
    }
    if (transform.pattern.sources().size() > 1 && transform.targets.size() > 1) {
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
    Transform transform{Transform::Kind::rename, pattern_of(rule[kind]), normalized_targets(rule), {}, 0, {}};
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
        rule.refuse("expected one of the keys convert, rename, rename_group, rename_offset, add_prefix, remove_prefix");
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
        result.dim = static_cast<std::uint32_t>(dim_of(rule, "shard", 0));
        return result;
    }
    auto const packed = rule["packed"];
    packed.allow_only({"dim", "blocks"});
    result.cut = Cut::packed;
    result.dim = static_cast<std::uint32_t>(dim_of(packed, "dim", 0));
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

ParallelPlan parse_plan(JsonReader const& plan) {
    plan.allow_only({"about", "extends", "base", "head"});
    auto const extends = plan.find("extends");
    return {extends ? extends->text() : std::string(), parse_rules(plan, "base"), parse_rules(plan, "head")};
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

KeepInFp32 parse_keep_in_fp32(JsonReader const& document) {
    auto const lists = document.find("keep_in_fp32");
    if (!lists) { return {}; }
    lists->allow_only({"float16", "float16_and_bfloat16"});
    return {texts_of(*lists, "float16"), texts_of(*lists, "float16_and_bfloat16")};
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

}  // namespace

ArchitectureData parse_architecture(std::string const& json, std::string const& origin) {
    auto const parsed = parse_json(json, origin);
    JsonReader const document(parsed, origin);
    document.allow_only({"$schema", "family", "about", "model_types", "model_classes", "base", "sizes", "ignore",
                         "tied", "keep_in_fp32", "heads", "transforms", "plans"});
    ArchitectureData data;
    data.origin = origin;
    data.family = document["family"].text();
    data.model_types = document["model_types"].texts();
    data.model_classes = texts_of(document, "model_classes");
    data.ignore = texts_of(document, "ignore");
    if (auto const base = document.find("base")) { data.base = base->text(); }
    if (auto const sizes = document.find("sizes")) { data.sizes = sizes->text_members(); }
    if (auto const tied = document.find("tied")) { data.tied = tied->text_members(); }
    data.keep_in_fp32 = parse_keep_in_fp32(document);
    data.heads = parse_head_lists(document);
    if (auto const transforms = document.find("transforms")) {
        for (auto const& rule : transforms->array()) { data.transforms.push_back(parse_transform(rule)); }
    }
    for (auto const& [name, plan] : document["plans"].members()) { data.plans.emplace(name, parse_plan(plan)); }
    check_extensions(document["plans"], data.plans);
    return data;
}

}  // namespace shardwise
