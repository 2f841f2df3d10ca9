/// @file
/// What all rules together make of the names of a checkpoint.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mapping/transform.hpp"

namespace shardwise {

/// Names of a model's parameters.
using NameSet = std::set<std::string, std::less<>>;

/// A name that a converter took.
struct ConverterHit {
    std::uint32_t place = 0;   ///< index into MappedNames::places; the same for all that go into the same outputs
    std::uint32_t source = 0;  ///< which of the rule's sources matched
    std::string star;          ///< text `*.` took: the expert's number, by rule
};

/// A stored tensor's name after all renamings, or the converter that takes it.
struct MappedName {
    std::string_view name;  ///< empty if a converter takes it
    std::optional<ConverterHit> converter;
};

/// By stored tensor. A checkpoint of many experts has 10^5 of them, whose names are put together only if they are asked
/// for.
struct MappedNames {
    MappedNames() = default;
    MappedNames(MappedNames&&) = default;
    MappedNames(MappedNames const&) = delete;  ///< names point into texts

    std::vector<MappedName> list;
    std::vector<ConverterPlace> places;
    std::deque<std::string> texts;  ///< of names that are not the stored ones
};

/// Runs every renaming over every name, in the rules' order and chained, then finds each name's first converter.
///
/// Where the model's own names are known, the base model's path is put in front of a name, or taken away from it, if
/// that makes it one of them; and a stored name that is one of them already keeps it, without any rule, if the rules
/// lead elsewhere, or to the name of another stored tensor. So checkpoints of the base model alone and converted ones
/// load, too.
/// @param names must outlive the result.
/// @param base_prefix module path of the base model, without a dot at its end.
/// @param model_names empty: not known.
MappedNames map_names(std::span<Transform const> transforms, std::vector<std::string_view> const& names,
                      std::string_view base_prefix, NameSet const& model_names = {});

}  // namespace shardwise
