#include "mapping/parameters.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fnmatch.h>

#include <shardwise/error.hpp>

#include "mapping/architecture_data.hpp"
#include "mapping/comparison.hpp"
#include "mapping/conversion.hpp"
#include "mapping/known_parameters.hpp"
#include "mapping/leaves.hpp"
#include "mapping/model_config.hpp"
#include "mapping/scale_placement.hpp"
#include "mapping/ties.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

bool matches_any(std::vector<std::string> const& patterns, std::string const& name) {
    return std::any_of(patterns.begin(), patterns.end(),
                       [&](std::string const& pattern) { return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0; });
}

bool is_chosen(std::string const& name, MappingOptions const& options) {
    bool const is_included = options.include.empty() || matches_any(options.include, name);
    return is_included && !matches_any(options.exclude, name);
}

void keep_chosen(std::vector<NamedExpression>& parameters, MappingOptions const& options) {
    std::erase_if(parameters, [&](NamedExpression const& parameter) { return !is_chosen(parameter.name, options); });
    if (parameters.empty()) { throw Error(Errc::input, "--include and --exclude leave no parameter"); }
}

/// A rule of the plan and the name it was looked up by.
struct RuleMatch {
    PlacementRule const* rule = nullptr;
    std::string_view name;  ///< relative to the base model if it lies in there
};

/// Names inside the base model are looked up without its prefix; a checkpoint of the base model alone has none.
RuleMatch find_in_plan(ParallelPlan const& plan, std::string_view base, std::string_view name) {
    auto const prefix = fmt::format("{}.", base);
    if (!base.empty() && name.starts_with(prefix)) {
        auto const inside = name.substr(prefix.size());
        return {find_rule(plan.base, inside), inside};
    }
    if (auto const* rule = find_rule(plan.head, name)) { return {rule, name}; }
    return {find_rule(plan.base, name), name};
}

Heads heads_of(ArchitectureData const& architecture, std::string_view name) {
    auto const general = generalize(name);
    auto found = architecture.heads.find(general);
    if (found == architecture.heads.end()) { found = architecture.heads.find(general.substr(0, general.rfind('.'))); }
    return found == architecture.heads.end() ? Heads::none : found->second;
}

/// Collects which parameters have heads that lie on two ranks, once a kind of parameter.
class CutHeads {
   public:
    explicit CutHeads(std::int64_t tp) : tp_(tp) {}

    /// @param heads what the parameter is made of, unless the rule says it block by block.
    /// @param config that of the part which the parameter belongs to.
    void look_at(std::string_view name, PlacementRule const& rule, Heads heads, Placement const& placement,
                 ModelConfig const& config) {
        if (placement.cuts.empty()) { return; }
        auto const& blocks = placement.cuts.front().blocks;
        for (std::size_t i = 0; i < blocks.size(); ++i) {
            look_at(name, i < rule.blocks.size() ? rule.blocks[i].heads : heads, blocks[i], config);
        }
    }

    std::vector<std::string> warnings() const {
        if (found_.empty()) { return {}; }
        return {
            fmt::format("--tp {} cuts through attention heads: {}; --kv-heads replicate keeps key/value heads whole",
                        tp_, fmt::join(found_, ", "))};
    }

   private:
    void look_at(std::string_view name, Heads heads, Placement::Block const& block, ModelConfig const& config) {
        if (heads == Heads::none || block.parts == 1 || block.size == 0) { return; }
        auto const query = config.size("num_attention_heads");
        auto const count = heads == Heads::query                            ? query
                           : config.size("num_key_value_heads").has_value() ? config.size("num_key_value_heads")
                                                                            : query;
        if (!count || *count < 1 || block.size % *count != 0) { return; }
        auto const piece = ceil_div(block.size, block.parts);
        auto const head = block.size / *count;
        if (piece % head == 0) { return; }
        found_.insert(fmt::format("{} ({} heads of {}, pieces of {})", generalize(name), *count, head, piece));
    }

    std::int64_t tp_;
    std::set<std::string> found_;
};

/// MXFP4 that is kept as it is stored looks to rules as the numbers that it stands for.
RuleView seen_by_rules(std::string const& name, Expression const& value) {
    return view_of_blocks(name, value).value_or(RuleView{name, value.shape});
}

/// Cuts parameters by the rules of a plan.
class RulePlacer {
   public:
    RulePlacer(ArchitectureData const& data, ParallelPlan const& plan, ModelConfig const& config,
               MappingOptions const& options)
        : data_(data), plan_(plan), config_(config), options_(options), cut_heads_(options.mesh.tp) {
        for (auto const& component : data.components) { sizes_.push_back(size_lookup(component, config)); }
    }

    /// @throws Error input naming the parameter.
    Placement place(std::string const& name, Expression const& value) {
        auto const [seen_name, shape] = seen_by_rules(name, value);
        auto const match = find_in_plan(plan_, data_.base, seen_name);
        auto const rule = match.rule == nullptr ? PlacementRule{} : *match.rule;
        try {
            auto const heads = heads_of(data_, match.name);
            auto const placement = shardwise::place(rule, seen_name, shape,
                                                    {options_.mesh, options_.kv_heads, heads, sizes_[rule.component]});
            cut_heads_.look_at(match.name, rule, heads, placement,
                               sub_config(config_, data_.components[rule.component].config));
            auto const blocks = view_of_blocks(name, value);
            return blocks ? placement_of_blocks(*blocks, placement, options_.mesh) : placement;
        } catch (Error const& error) { throw error.while_(name); }
    }

    std::vector<std::string> warnings() const { return cut_heads_.warnings(); }

   private:
    ArchitectureData const& data_;
    ParallelPlan const& plan_;
    ModelConfig const& config_;
    MappingOptions const& options_;
    std::vector<SizeLookup> sizes_;  ///< by component
    CutHeads cut_heads_;
};

/// Rules that would cut something but fit no parameter: after a typing error every rank would hold the whole of it.
/// Known architectures share their rules with models that lack a part, so this is for descriptions of one's own.
std::vector<std::string> idle_rules(ArchitectureData const& data, ParallelPlan const& plan,
                                    std::string const& plan_name, std::set<std::string> names) {
    for (auto const& [dependent, source] : data.tied) { names.insert({dependent, source}); }
    std::set<PlacementRule const*> used;
    for (auto const& name : names) { used.insert(find_in_plan(plan, data.base, name).rule); }
    std::map<std::string, std::vector<std::string>> idle;  ///< by file
    for (auto const* rules : {&plan.base, &plan.head}) {
        for (auto const& [name, rule] : *rules) {
            auto const& owner = data.components[rule.component];
            if (owner.is_shared || rule.cut == Cut::none || rule.is_implicit || used.contains(&rule)) { continue; }
            idle[owner.origin].push_back(name);
        }
    }
    std::vector<std::string> warnings;
    for (auto const& [origin, names_of_rules] : idle) {
        warnings.push_back(fmt::format("{}: no parameter fits these rules of plan {}, so they cut nothing: {}", origin,
                                       plan_name, fmt::join(names_of_rules, ", ")));
    }
    return warnings;
}

[[noreturn]] void refuse_uneven(Parameter const& parameter, std::uint32_t dim, std::int64_t parts) {
    throw Error(Errc::input,
                fmt::format("--strict-divisible: {} of shape {} cannot be cut along dimension {} into {} equal parts",
                            parameter.name, to_string(parameter.value.shape), dim, parts));
}

void check_divisible(Parameter const& parameter, Mesh const& mesh) {
    Placement before;
    for (auto const& cut : parameter.placement.cuts) {
        for (auto const& block : cut.blocks) {
            if (block.size % block.parts != 0) { refuse_uneven(parameter, cut.dim, block.parts); }
        }
        // Even cuts leave all ranks the same, so the first one stands for all.
        auto const left = local_shape(before, parameter.value.shape, mesh, 0)[cut.dim];
        auto const ranks = mesh.size(cut.axis);
        if (cut.blocks.empty() && left % ranks != 0) { refuse_uneven(parameter, cut.dim, ranks); }
        before.cuts.push_back(cut);
    }
}

/// The warning about experts that do not come out even, of which the last ranks hold fewer than the others or none.
void note_uneven_experts(Placement const& placement, std::set<std::string>& warnings) {
    for (auto const& cut : placement.cuts) {
        if (cut.kind != Placement::Kind::expert || cut.blocks.front().size % cut.blocks.front().parts == 0) {
            continue;
        }
        auto const& [experts, ranks, repeat] = cut.blocks.front();
        auto const each = ceil_div(experts, ranks);
        auto const full = experts / each;
        auto const rest = experts % each;
        auto const empty = ranks - full - (rest > 0 ? 1 : 0);
        auto text = fmt::format("--{} {}: {} experts do not come out even: {} hold {}", to_string(cut.axis), ranks,
                                experts, full, each);
        if (rest > 0) { text += fmt::format(", 1 hold {}", rest); }
        if (empty > 0) { text += fmt::format(", {} hold none", empty); }
        warnings.insert(std::move(text));
    }
}

/// Whether some rule of the plan deals experts to the ep ranks.
bool deals_experts(ParallelPlan const& plan) {
    auto const is_of_experts = [](auto const& entry) { return entry.second.axis == MeshAxis::ep; };
    return std::any_of(plan.base.begin(), plan.base.end(), is_of_experts) ||
           std::any_of(plan.head.begin(), plan.head.end(), is_of_experts);
}

/// What the model is expected to have: by the user's word, else by the architecture's, as far as it says.
KnownParameters known_parameters(ArchitectureData const& data, ModelConfig const& config, Catalog const& catalog,
                                 MappingOptions const& options) {
    if (!options.expected.empty()) { return {options.expected, true, {}, true}; }
    try {
        return parameters_by_architecture(data, config, catalog);
    } catch (Error const& error) {
        if (options.strict) { throw error.while_("--strict"); }
        return {};
    }
}

/// The names that parameters of the model have, as far as they are known for sure.
NameSet names_in(KnownParameters const& known) {
    NameSet names;
    if (!known.settles_names) { return names; }
    for (auto const& [name, parameter] : known.expected) { names.insert(name); }
    return names;
}

/// Notes what differs from the expectation. What the user does not expect is not loaded; what only the architecture
/// does not know is: its description may well be the poorer one.
void compare_with(KnownParameters known, Parameters& parameters, ArchitectureData const& data,
                  MappingOptions const& options) {
    if (known.expected.empty()) { return; }
    std::erase_if(known.expected, [&](auto const& entry) { return !is_chosen(entry.first, options); });
    auto& differences = parameters.differences;
    differences = compare(known, parameters.list, data.ignore_missing);
    auto const found = sentences(differences);
    if (options.strict && !found.empty()) {
        throw Error(Errc::input, fmt::format("--strict: {}", fmt::join(found, "; ")));
    }
    parameters.warnings.insert(parameters.warnings.end(), found.begin(), found.end());
    if (!known.is_users) { return; }
    std::set<std::string> const unexpected(differences.unexpected.begin(), differences.unexpected.end());
    std::erase_if(parameters.list, [&](Parameter const& parameter) { return unexpected.contains(parameter.name); });
    if (parameters.list.empty()) {
        throw Error(Errc::input, "none of the checkpoint's parameters is expected");
    }
}

}  // namespace

Parameters map_parameters(Catalog const& catalog, Architecture const& architecture, MappingOptions const& options) {
    auto const& mesh = options.mesh;
    check(mesh);
    auto const assembled = architecture.data_for(catalog.config_json());
    auto const& data = *assembled;
    ModelConfig const config(catalog.config_json());
    auto const& plan = plan_of(data, options.plan);
    RulePlacer placer(data, plan, config, options);
    auto known = known_parameters(data, config, catalog, options);
    Leaves const leaves(catalog, data.keep_in_fp32, options.dtype,
                        {options.dequantizes, config.dtype(), config.block()});
    auto named = convert(catalog, data, config, leaves, names_in(known));
    std::vector<std::string> names;
    std::set<std::string> seen_names;
    for (auto const& parameter : named) {
        names.push_back(parameter.name);
        seen_names.insert(seen_by_rules(parameter.name, parameter.value).name);
    }
    std::set<std::string> const stored(names.begin(), names.end());
    Pipeline const pipeline(data.pipeline, data.base, mesh.pp, config.size("num_hidden_layers"), names);
    keep_chosen(named, options);
    Parameters result;
    std::set<std::string> expert_warnings;
    auto const scales = options.dequantizes ? std::set<std::string>() : kept_scale_names(named);
    for (auto& [name, value, transform] : named) {
        Parameter parameter{std::move(name), {}, std::move(value), {}};
        if (!scales.contains(parameter.name)) { parameter.placement = placer.place(parameter.name, parameter.value); }
        note_uneven_experts(parameter.placement, expert_warnings);
        result.list.push_back(std::move(parameter));
    }
    if (!options.dequantizes) { cut_scales_with_codes(result.list, mesh, config.block()); }
    if (options.strict_divisible) {
        for (auto const& parameter : result.list) { check_divisible(parameter, mesh); }
    }
    if (!config.unties_embeddings()) { tie_names(result.list, data.tied, stored, names_in(known)); }
    for (auto& parameter : result.list) {
        parameter.placement.stages = pipeline.stages_of(parameter.name, parameter.aliases);
    }
    result.warnings = placer.warnings();
    std::ranges::copy(expert_warnings, std::back_inserter(result.warnings));
    std::ranges::move(pipeline.warnings(), std::back_inserter(result.warnings));
    std::ranges::move(idle_rules(data, plan, options.plan, seen_names), std::back_inserter(result.warnings));
    if (mesh.expert_ranks() != mesh.tp && !deals_experts(plan)) {
        result.warnings.push_back(
            fmt::format("--ep {} changes nothing: plan {} deals out no experts", mesh.ep, options.plan));
    }
    compare_with(std::move(known), result, data, options);
    return result;
}

}  // namespace shardwise
