/// @file
/// Conversion rules: how names of stored tensors become names of parameters.
#pragma once

#include <cstdint>
#include <optional>
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

/// What all names have in common that a converter makes the same outputs of.
struct ConverterPlace {
    std::size_t transform = 0;  ///< index of the rule
    std::string prefix;         ///< text of a name before and after the match
    std::string suffix;
    std::vector<std::string> groups;
};

/// How a converter takes a name.
struct ConverterMatch {
    ConverterPlace place;
    std::uint32_t source = 0;  ///< which of its sources matched
    std::string star;          ///< text `*.` took: the expert's number, by rule
};

/// The part of a name that a rule looks at, and the scope in front of it.
struct ScopedName {
    std::string_view scope;
    std::string_view rest;
};

/// @p name as a rule with this scope sees it; none if it lies outside. The views point into @p name.
std::optional<ScopedName> enter_scope(std::string_view name, std::optional<std::string> const& scope,
                                      std::string_view base_prefix);

/// Renames those of @p names that the rule, which is no converter, matches: its match is replaced where it stands, even
/// if the same text occurs earlier in the name.
/// @param base_prefix module path of the base model, which a scope may or may not repeat; without a dot at its end.
/// @throws Error input naming the name: an index that is no number.
void rename_all(Transform const& transform, std::span<std::string> names, std::string_view base_prefix);

/// How the first converter that matches @p name, after all renamings, takes it.
std::optional<ConverterMatch> find_converter(std::span<Transform const> transforms, std::string_view name,
                                             std::string_view base_prefix);

/// Full name of a converter's output: the place's prefix and suffix around @p target with its groups put in.
std::string output_name(ConverterPlace const& place, std::string_view target);

/// @p path with a dot at its end, to be put in front of names; nothing for an empty one.
std::string as_prefix(std::string_view path);

}  // namespace shardwise
