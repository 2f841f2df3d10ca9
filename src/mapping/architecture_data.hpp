/// @file
/// The content of one file in configs/, parsed and checked. Keys are explained in configs/schema.json.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "mapping/parallel_plan.hpp"
#include "mapping/transform.hpp"

namespace shardwise {

/// Patterns of parameters that stay in 32 bits when a model is cast, found anywhere in a name.
struct KeepInFp32 {
    std::vector<std::string> float16;               ///< when it is cast to float16
    std::vector<std::string> float16_and_bfloat16;  ///< when it is cast to either
};

struct ArchitectureData {
    std::string origin;        ///< file name, for messages
    bool is_built_in = false;  ///< shared by a family: not every rule need apply to every model
    std::string family;
    std::vector<std::string> model_types;
    std::vector<std::string> model_classes;

    std::string base;                           ///< module path of the base model inside the head class ("model")
    std::map<std::string, std::string> sizes;   ///< size name -> expression, used when config.json lacks it
    std::vector<std::string> ignore;            ///< patterns of stored tensors that are no parameters
    std::map<std::string, std::string> tied;    ///< parameter -> the one whose values it shares
    KeepInFp32 keep_in_fp32;
    std::vector<Transform> transforms;          ///< legacy renames included, last
    std::map<std::string, ParallelPlan> plans;
    std::map<std::string, Heads> heads;         ///< rule name -> what the cut dimension is made of
};

/// @throws Error input naming @p origin, the key and what was expected.
ArchitectureData parse_architecture(std::string const& json, std::string const& origin);

/// Value of a size expression for a checkpoint: names come from config.json, else from ArchitectureData::sizes.
class ModelConfig;
SizeLookup size_lookup(ArchitectureData const& data, ModelConfig const& config);

/// The rules of plan @p name with everything it extends folded in: a rule of the extended plan is dropped if it names a
/// module that this plan has a rule for, or something below it.
/// @throws Error input naming the plans there are.
ParallelPlan flatten_plan(ArchitectureData const& data, std::string const& name);

}  // namespace shardwise
