#include "mapping/assembly.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

constexpr int kMaxNesting = 8;
constexpr char const* kDefaultPlan = "tp";

std::string join(std::string const& path, std::string const& name) {
    return path.empty() || name.empty() ? path + name : fmt::format("{}.{}", path, name);
}

template <class T>
void append(std::vector<T>& list, std::vector<T> more) {
    std::move(more.begin(), more.end(), std::back_inserter(list));
}

/// Names that have been given their transforms on the way down to a part.
struct Claims {
    std::set<std::string> classes;
    std::set<std::string> types;

    /// True if the description's transforms are to be used; they are then claimed.
    bool claim(Description const& description) {
        auto const& [type, model_class] = description.variant;
        return description.is_of_class ? classes.insert(model_class).second : types.insert(type).second;
    }
};

class Assembly {
   public:
    ArchitectureData model(Description const& description, ModelConfig const& config) {
        return assemble_whole(description, config, {}, 0);
    }

   private:
    /// A model that has its base model inside, if the file names one.
    ArchitectureData assemble_whole(Description const& description, ModelConfig const& config, Claims claims,
                                    int depth) {
        auto data = parse_description(description);
        if (!claims.claim(description)) { data.transforms.clear(); }
        if (!data.base.empty()) { add_base_class(data, description, claims); }
        add_parts(data, config, claims, depth);
        return data;
    }

    /// A base model alone, as part of another one.
    ArchitectureData assemble_base(std::string const& type, ModelConfig const& config, Claims claims, int depth) {
        auto const& library = ArchitectureLibrary::instance();
        auto const of_type = *library.find({}, type);
        auto data = parse_description(of_type);
        auto const of_class = library.find(data.base_class, {});
        if (of_class && of_class->is_of_class) {
            data.transforms = claims.claim({of_class->text, {type, data.base_class}, true})
                                  ? library.transforms_of(data.base_class)
                                  : std::vector<Transform>{};
        } else if (!claims.claim(of_type)) {
            data.transforms.clear();
        }
        add_parts(data, config, claims, depth);
        return data;
    }

    /// The base model inside a whole one: by its class, else by the type, if that has not had its turn.
    static void add_base_class(ArchitectureData& data, Description const& whole, Claims& claims) {
        auto const& library = ArchitectureLibrary::instance();
        auto inner = library.find(data.base_class, {});
        if (!inner && whole.is_of_class) { inner = library.find({}, whole.variant.model_type); }
        if (!inner) { return; }
        inner->variant.model_type = whole.variant.model_type;
        if (!claims.claim(*inner)) { return; }
        auto transforms = parse_description(*inner).transforms;
        for (auto& transform : transforms) { transform.scope = transform.scope.value_or(""); }
        append(data.transforms, std::move(transforms));
    }

    void add_parts(ArchitectureData& data, ModelConfig const& config, Claims const& claims, int depth) {
        auto const parts = data.parts;
        flatten_plans(data);
        if (depth == kMaxNesting && !parts.empty()) {
            throw Error(Errc::input,
                        fmt::format("{}: parts of parts, deeper than {}", data.components.front().origin, kMaxNesting));
        }
        auto const& library = ArchitectureLibrary::instance();
        for (auto const& part : parts) {
            auto const& sub = sub_config(config, part.config);
            bool const has_config = part.config.empty() || &sub != &config;
            auto const type = part.model_type.empty() && has_config ? sub.model_type() : part.model_type;
            auto const found = library.find({}, type);
            if (!found) { continue; }
            absorb(data, part,
                   part.has_head ? assemble_whole(*found, sub, claims, depth + 1)
                                 : assemble_base(type, sub, claims, depth + 1));
        }
    }

    static void flatten_plans(ArchitectureData& data) {
        std::map<std::string, ParallelPlan> flat;
        for (auto const& [name, plan] : data.plans) { flat.emplace(name, flatten_plan(data, name)); }
        data.plans = std::move(flat);
    }

    /// Puts what holds for @p part to the rules of @p whole, written from there.
    static void absorb(ArchitectureData& whole, Part const& part, ArchitectureData rules) {
        auto const& module = part.module;
        auto const base = part.has_head ? join(module, rules.base) : module;
        auto const offset = whole.components.size();

        for (auto& transform : rules.transforms) {
            transform.scope = transform.scope ? join(base, *transform.scope) : module;
            transform.component += offset;
        }
        append(whole.transforms, std::move(rules.transforms));
        for (auto& rule : rules.ignore) {
            if (!rule.scope && !part.has_head) { rule.base = rules.base; }
            rule.scope = rule.scope ? join(base, *rule.scope) : module;
        }
        append(whole.ignore, std::move(rules.ignore));
        for (auto& component : rules.components) {
            component.config.insert(component.config.begin(), part.config.begin(), part.config.end());
        }
        append(whole.components, std::move(rules.components));
        append(whole.keep_in_fp32.float16, std::move(rules.keep_in_fp32.float16));
        append(whole.keep_in_fp32.float16_and_bfloat16, std::move(rules.keep_in_fp32.float16_and_bfloat16));
        for (auto const& [name, heads] : rules.heads) { whole.heads.emplace(join(base, name), heads); }
        absorb_ties(whole, part, rules);
        absorb_plans(whole, part, rules, offset);
    }

    /// Ties are between full names. A base model has only those that lie inside it.
    static void absorb_ties(ArchitectureData& whole, Part const& part, ArchitectureData const& rules) {
        auto const inner = part.has_head || rules.base.empty() ? std::string() : fmt::format("{}.", rules.base);
        auto const at = join(whole.base, part.module);
        for (auto const& [dependent, source] : rules.tied) {
            if (!dependent.starts_with(inner) || !source.starts_with(inner)) { continue; }
            Tie const tie{join(at, dependent.substr(inner.size())), join(at, source.substr(inner.size()))};
            auto const is_same = [&](Tie const& known) { return known.dependent == tie.dependent; };
            if (std::none_of(whole.tied.begin(), whole.tied.end(), is_same)) { whole.tied.push_back(tie); }
        }
    }

    /// A plan that only one of the two has leaves the other as its usual plan cuts it.
    static void absorb_plans(ArchitectureData& whole, Part const& part, ArchitectureData const& rules,
                             std::size_t offset) {
        auto const usual = [](ArchitectureData const& data, std::string const& name) {
            auto found = data.plans.find(name);
            if (found == data.plans.end()) { found = data.plans.find(kDefaultPlan); }
            return found == data.plans.end() ? ParallelPlan{} : found->second;
        };
        auto const base = part.has_head ? join(part.module, rules.base) : part.module;
        std::set<std::string> names;
        for (auto const& [name, plan] : whole.plans) { names.insert(name); }
        for (auto const& [name, plan] : rules.plans) { names.insert(name); }
        std::map<std::string, ParallelPlan> plans;
        for (auto const& name : names) {
            auto& plan = plans.emplace(name, usual(whole, name)).first->second;
            auto const inner = usual(rules, name);
            auto const put = [&](std::string const& path, auto const& entries) {
                for (auto [rule_name, rule] : entries) {
                    rule.component += offset;
                    plan.base.emplace(join(path, rule_name), std::move(rule));
                }
            };
            put(base, inner.base);
            if (part.has_head) { put(part.module, inner.head); }
        }
        whole.plans = std::move(plans);
    }
};

/// The user's own rules: transforms run first, rules of plans replace those they name or contain.
void add_rules(ArchitectureData& data, RuleText const& text, std::vector<Transform>& first) {
    auto rules = parse_description({std::make_shared<RuleText const>(text), {}, false});
    if (!rules.base.empty() || !rules.parts.empty()) {
        throw Error(Errc::input, fmt::format("{}: 'base' and 'parts' are the architecture's, a file of more rules has "
                                             "none",
                                             text.origin));
    }
    auto const component = data.components.size();
    auto& own = rules.components.front();
    own.sizes.insert(data.components.front().sizes.begin(), data.components.front().sizes.end());
    append(data.components, std::move(rules.components));

    for (auto& transform : rules.transforms) { transform.component = component; }
    append(first, std::move(rules.transforms));
    append(data.ignore, std::move(rules.ignore));
    append(data.more_parameters, std::move(rules.parameters));
    data.has_more_rules = true;
    append(data.ignore_missing, std::move(rules.ignore_missing));
    append(data.keep_in_fp32.float16, std::move(rules.keep_in_fp32.float16));
    append(data.keep_in_fp32.float16_and_bfloat16, std::move(rules.keep_in_fp32.float16_and_bfloat16));
    for (auto& tie : rules.tied) {
        std::erase_if(data.tied, [&](Tie const& known) { return known.dependent == tie.dependent; });
        data.tied.push_back(std::move(tie));
    }
    for (auto& [name, heads] : rules.heads) { data.heads.insert_or_assign(name, heads); }
    for (auto& [name, plan] : rules.plans) {
        if (!plan.extends.empty()) {
            throw Error(Errc::input, fmt::format("{}: plans.{}: a plan of a file of more rules extends the "
                                                 "architecture's plan of its name, and no other",
                                                 text.origin, name));
        }
        for (auto* entries : {&plan.base, &plan.head}) {
            for (auto& [rule_name, rule] : *entries) { rule.component = component; }
        }
        auto& below = data.plans[name];
        inherit_rules(plan.base, below.base);
        inherit_rules(plan.head, below.head);
        below = std::move(plan);
    }
}

}  // namespace

ArchitectureData assemble(AssemblyRequest const& request, ModelConfig const& config) {
    auto data = Assembly().model(request.description, config);
    std::vector<Transform> transforms;
    for (auto const& rules : request.rules) { add_rules(data, rules, transforms); }
    append(transforms, std::move(data.transforms));

    auto legacy = parse_description({std::make_shared<RuleText const>(ArchitectureLibrary::legacy()), {}, false});
    for (auto& transform : legacy.transforms) { transform.component = data.components.size(); }
    append(data.components, std::move(legacy.components));
    append(transforms, std::move(legacy.transforms));
    data.transforms = std::move(transforms);
    return data;
}

}  // namespace shardwise
