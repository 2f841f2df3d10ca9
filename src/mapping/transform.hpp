/// @file
/// Conversion rules: how names of stored tensors become names of parameters.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mapping/operation.hpp"
#include "mapping/pattern.hpp"

namespace shardwise {

/// One rule. Targets are normalised (normalize_target).
struct Transform {
    enum class Kind : std::uint8_t {
        rename,         ///< the matched text becomes the first target
        group_rename,   ///< source i becomes target i, if any name of the checkpoint matches source 0
        offset_rename,  ///< as rename, the captured number plus `offset`
        convert,        ///< the tensors that match are handed to `operations`
    };

    Kind kind = Kind::rename;
    Pattern pattern;
    std::vector<std::string> targets;
    std::vector<Operation> operations;  ///< convert
    std::int64_t offset = 0;            ///< offset_rename
    /// Only names below this module path, which is not part of what is matched; empty: those of the base model.
    std::optional<std::string> scope;
    std::size_t component = 0;          ///< index into ArchitectureData::components: whose sizes the operations mean
};

/// A converter that took a name.
struct ConverterHit {
    std::size_t transform = 0;  ///< index of the rule
    std::size_t source = 0;     ///< which of its sources matched
    std::string prefix;         ///< text of the name before and after the match
    std::string suffix;
    std::vector<std::string> groups;
    std::string star;           ///< text `*.` took: the expert's number, by rule
    std::uint32_t place = 0;    ///< the same for all that go into the same outputs, and only for them
};

/// A stored tensor's name after all renamings, and the converter that takes it, if one does.
struct MappedName {
    std::string name;
    std::optional<ConverterHit> converter;
};

/// The part of a name that a rule looks at, and the scope in front of it.
struct ScopedName {
    std::string_view scope;
    std::string_view rest;
};

/// @p name as a rule with this scope sees it; none if it lies outside. The views point into @p name.
std::optional<ScopedName> enter_scope(std::string_view name, std::optional<std::string> const& scope,
                                      std::string_view base_prefix);

/// Names of a model's parameters.
using NameSet = std::set<std::string, std::less<>>;

/// Runs every renaming over every name, in the rules' order and chained, then finds each name's first converter.
/// A renaming replaces its match where it stands, even if the same text occurs earlier in the name.
///
/// Where the model's own names are known, the base model's path is put in front of a name, or taken away from it, if
/// that makes it one of them; and a stored name that is one of them already keeps it, without any rule, if the rules
/// lead elsewhere, or to the name of another stored tensor. So checkpoints of the base model alone and converted ones
/// load, too.
/// @param base_prefix module path of the base model, which a scope may or may not repeat; without a dot at its end.
/// @param model_names empty: not known.
std::vector<MappedName> map_names(std::span<Transform const> transforms, std::vector<std::string> names,
                                  std::string_view base_prefix, NameSet const& model_names = {});

/// Full name of a converter's output: the hit's prefix and suffix around @p target with its groups put in.
std::string output_name(ConverterHit const& hit, std::string_view target);

}  // namespace shardwise
