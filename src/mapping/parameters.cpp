#include "mapping/parameters.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fnmatch.h>

#include <shardwise/error.hpp>

#include "mapping/architecture_data.hpp"
#include "mapping/conversion.hpp"
#include "mapping/leaves.hpp"
#include "mapping/model_config.hpp"
#include "mapping/scale_placement.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

bool matches_any(std::vector<std::string> const& patterns, std::string const& name) {
    return std::any_of(patterns.begin(), patterns.end(),
                       [&](std::string const& pattern) { return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0; });
}

void keep_chosen(std::vector<NamedExpression>& parameters, MappingOptions const& options) {
    std::erase_if(parameters, [&](NamedExpression const& parameter) {
        bool const is_included = options.include.empty() || matches_any(options.include, parameter.name);
        return !is_included || matches_any(options.exclude, parameter.name);
    });
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
    CutHeads(ModelConfig const& config, std::int64_t tp) : config_(config), tp_(tp) {}

    void look_at(std::string_view name, Heads heads, Placement::Block const& block) {
        if (heads == Heads::none || block.parts == 1) { return; }
        auto const query = config_.size("num_attention_heads");
        auto const count = heads == Heads::query                             ? query
                           : config_.size("num_key_value_heads").has_value() ? config_.size("num_key_value_heads")
                                                                             : query;
        if (!count || *count < 1 || block.size % *count != 0) { return; }
        auto const piece = ceil_div(block.size, block.parts);
        auto const head = block.size / *count;
        if (piece % head == 0) { return; }
        found_.insert(fmt::format("{} ({} heads of {}, pieces of {})", generalize(name), *count, head, piece));
    }

    std::vector<std::string> warnings() const {
        if (found_.empty()) { return {}; }
        return {
            fmt::format("--tp {} cuts through attention heads: {}; --kv-heads replicate keeps key/value heads whole",
                        tp_, fmt::join(found_, ", "))};
    }

   private:
    ModelConfig const& config_;
    std::int64_t tp_;
    std::set<std::string> found_;
};

/// Rules that would cut something but fit no parameter: after a typing error every rank would hold the whole of it.
/// Known architectures share their rules with models that lack a part, so this is for descriptions of one's own.
std::vector<std::string> idle_rules(ArchitectureData const& data, ParallelPlan const& plan,
                                    std::string const& plan_name, std::set<std::string> names) {
    if (data.is_built_in) { return {}; }
    for (auto const& [dependent, source] : data.tied) { names.insert({dependent, source}); }
    std::set<PlacementRule const*> used;
    for (auto const& name : names) { used.insert(find_in_plan(plan, data.base, name).rule); }
    std::vector<std::string> idle;
    for (auto const* rules : {&plan.base, &plan.head}) {
        for (auto const& [name, rule] : *rules) {
            bool const is_implicit = rules == &plan.base && name == kEmbeddingModule;
            if (rule.cut != Cut::none && !is_implicit && !used.contains(&rule)) { idle.push_back(name); }
        }
    }
    if (idle.empty()) { return {}; }
    return {fmt::format("{}: no parameter fits these rules of plan {}, so they cut nothing: {}", data.origin, plan_name,
                        fmt::join(idle, ", "))};
}

void check_divisible(Parameter const& parameter) {
    for (auto const& block : parameter.placement.blocks) {
        if (block.size % block.parts == 0) { continue; }
        throw Error(
            Errc::input,
            fmt::format("--strict-divisible: {} of shape {} cannot be cut along dimension {} into {} equal parts",
                        parameter.name, to_string(parameter.value.shape), parameter.placement.dim, block.parts));
    }
}

/// Ties names whose values are shared: only one of a pair stands in the checkpoint, the other becomes its alias.
/// @param stored every name the checkpoint gives, those that were not chosen included.
void tie_names(std::vector<Parameter>& parameters, std::map<std::string, std::string> const& tied,
               std::set<std::string> const& stored) {
    auto const alias = [&](std::string const& absent, std::string const& present) {
        auto const at = std::find_if(parameters.begin(), parameters.end(),
                                     [&](Parameter const& parameter) { return parameter.name == present; });
        if (!stored.contains(absent) && at != parameters.end()) { at->aliases.push_back(absent); }
    };
    for (auto const& [dependent, source] : tied) {
        alias(dependent, source);
        alias(source, dependent);
    }
}

}  // namespace

Parameters map_parameters(Catalog const& catalog, Architecture const& architecture, MappingOptions const& options) {
    auto const& data = architecture.data();
    ModelConfig const config(catalog.config_json());
    auto const size_of = size_lookup(data, config);
    auto const plan = flatten_plan(data, options.plan);

    Leaves const leaves(catalog, data.keep_in_fp32, options.dtype, {options.dequantizes, config.dtype()});
    auto named = convert(catalog, data, size_of, leaves);
    std::set<std::string> stored;
    for (auto const& parameter : named) { stored.insert(parameter.name); }
    keep_chosen(named, options);
    Parameters result;
    CutHeads cut_heads(config, options.tp);
    for (auto& [name, value] : named) {
        Parameter parameter{std::move(name), {}, std::move(value), {}};
        auto const match = find_in_plan(plan, data.base, parameter.name);
        if (match.rule != nullptr && parameter.value.shape.rank() > 0) {
            try {
                auto const heads = heads_of(data, match.name);
                parameter.placement = place(*match.rule, parameter.name, parameter.value.shape,
                                            {options.tp, options.kv_heads, heads, size_of});
                for (std::size_t i = 0; i < parameter.placement.blocks.size(); ++i) {
                    auto const block_heads = i < match.rule->blocks.size() ? match.rule->blocks[i].heads : heads;
                    cut_heads.look_at(match.name, block_heads, parameter.placement.blocks[i]);
                }
            } catch (Error const& error) { throw error.while_(parameter.name); }
            if (options.strict_divisible) { check_divisible(parameter); }
        }
        result.list.push_back(std::move(parameter));
    }
    if (!options.dequantizes) { cut_scales_with_codes(result.list); }
    if (!config.unties_embeddings()) { tie_names(result.list, data.tied, stored); }
    result.warnings = cut_heads.warnings();
    std::ranges::move(idle_rules(data, plan, options.plan, stored), std::back_inserter(result.warnings));
    return result;
}

}  // namespace shardwise
