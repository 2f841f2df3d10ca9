/// @file
/// Parameters that share their values.
#pragma once

#include <set>
#include <span>
#include <string>
#include <vector>

#include "mapping/mapped_names.hpp"

namespace shardwise {

struct Parameter;

/// One entry of "tied": names of two parameters, paths of two modules, or patterns of either, which are regular
/// expressions that begin with the name.
struct Tie {
    std::string dependent;
    std::string source;
};

/// The ties between parameters that @p ties stand for, the dependent of each once. Of patterns, the names that the
/// source's fits are dealt in order, over and over, to those that the dependent's fits; an entry takes what earlier
/// ones say of the same dependent.
/// @param names  of all of the model's parameters.
/// @throws Error input naming the entry where the sources cannot be dealt evenly.
std::vector<Tie> write_out(std::span<Tie const> ties, NameSet const& names);

/// Gives what the checkpoint holds of parameters that are all tied to each other the names of those it lacks. Where it
/// holds several of them, each keeps its own values: that they are equal is not known before they are read.
/// @param stored       every name that the checkpoint gives, those that were not chosen included.
/// @param model_names  of all parameters; empty if not known: then patterns tie nothing.
void tie_names(std::vector<Parameter>& parameters, std::span<Tie const> ties, std::set<std::string> const& stored,
               NameSet const& model_names);

}  // namespace shardwise
