/// @file
/// The content of one file in configs/, parsed and checked. Keys are explained in configs/schema.json.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mapping/expectation.hpp"
#include "mapping/parallel_plan.hpp"
#include "mapping/pipeline.hpp"
#include "mapping/ties.hpp"
#include "mapping/transform.hpp"

namespace shardwise {

class ModelConfig;

/// A sub-model that has rules of its own: those of its model type.
struct Part {
    std::string module;               ///< where it lies: path inside the base model
    std::vector<std::string> config;  ///< path of its sub-configuration in config.json
    std::string model_type;           ///< empty: as the sub-configuration says
    bool has_head = false;            ///< a whole model with its head, and not a base model only
};

/// A pattern of stored tensors that are no parameters.
struct IgnoreRule {
    std::string pattern;
    std::optional<std::string> scope;  ///< as Transform::scope
    std::string base;                  ///< what the pattern expects in front of a name inside the scope
};

/// Patterns of parameters that stay in 32 bits when a model is cast, found anywhere in a name.
struct KeepInFp32 {
    std::vector<std::string> float16;               ///< when it is cast to float16
    std::vector<std::string> float16_and_bfloat16;  ///< when it is cast to either
};

/// A file whose rules take part, and the sub-configuration that its sizes are looked up in.
struct Component {
    std::string origin;
    bool is_shared = false;                  ///< shared by a family: not every rule need apply to every model
    std::vector<std::string> config;           ///< path of the sub-configuration; empty: config.json itself
    std::map<std::string, std::string> sizes;  ///< size name -> expression, used when the configuration lacks it
};

/// An architecture. As parsed it is one file's; assemble() puts the parts' rules, written for the whole model, to it.
struct ArchitectureData {
    std::string family;
    std::vector<std::string> model_types;
    std::vector<std::string> model_classes;

    std::string base;                         ///< module path of the base model inside the head class ("model")
    std::string base_class;                   ///< class of the base model, whose own transforms apply to it
    std::vector<Part> parts;
    std::vector<IgnoreRule> ignore;
    std::vector<ParameterPattern> parameters; ///< the parameters its models have, if stated
    std::vector<ParameterPattern> more_parameters;  ///< the same, by files of more rules
    bool has_more_rules = false;                    ///< such files take part; names need not be those stated here
    std::vector<std::string> whole_classes;         ///< classes of which these are all; empty: every class
    std::vector<std::string> ignore_missing;  ///< patterns of parameters that a checkpoint may lack
    std::vector<Tie> tied;                    ///< parameters that share their values
    KeepInFp32 keep_in_fp32;
    std::vector<Transform> transforms;
    std::map<std::string, ParallelPlan> plans;
    std::map<std::string, Heads> heads;       ///< rule name -> what the cut dimension is made of
    PipelineRules pipeline;                   ///< what belongs to which pipeline stage
    std::vector<Component> components;        ///< first the file itself
};

/// What a file calls itself and what it describes.
struct ArchitectureHeader {
    std::string family;
    std::vector<std::string> model_types;
    std::vector<std::string> model_classes;
};

/// Which description of a file is meant: its own keys, those of the variants of these names over them.
struct Variant {
    std::string model_type;
    std::string model_class;
};

/// Gives the transforms of an architecture that a file refers to by `use`.
using UsedTransforms = std::function<std::vector<Transform>(std::string const& name)>;

/// @throws Error input naming @p origin, the key and what was expected; all variants are checked, too.
ArchitectureData parse_architecture(std::string const& json, std::string const& origin, Variant const& variant = {},
                                    UsedTransforms const& used = {});

/// Only what it describes; the rest is not looked at.
ArchitectureHeader parse_architecture_header(std::string const& json, std::string const& origin);

/// @throws Error input naming the plans there are.
ParallelPlan const& plan_of(ArchitectureData const& data, std::string const& name);

/// The rules of plan @p name with everything it extends folded in: a rule of the extended plan is dropped if it names a
/// module that this plan has a rule for, or something below it. With the embedding's rule, if there are others.
/// @throws Error input naming the plans there are.
ParallelPlan flatten_plan(ArchitectureData const& data, std::string const& name);

/// Puts the rules of @p below to @p rules, but for those that name a module that has a rule there, or something below
/// it.
void inherit_rules(std::map<std::string, PlacementRule>& rules, std::map<std::string, PlacementRule> const& below);

/// The sub-configuration at @p path; @p config is config.json itself.
ModelConfig const& sub_config(ModelConfig const& config, std::vector<std::string> const& path);

/// Value of a size expression for a checkpoint: names come from the component's configuration, else from its sizes.
/// Both must outlive the lookup.
/// @param layer value of the name "layer", which otherwise is a name like any other.
SizeLookup size_lookup(Component const& component, ModelConfig const& config,
                       std::optional<std::int64_t> layer = std::nullopt);

}  // namespace shardwise
