/// @file
/// How one parameter comes about, for people.
#pragma once

#include <span>
#include <string>

#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/plan.hpp>

namespace shardwise {

/// Its type and shape, the operations and stored tensors it is made of with their places in the files, and for every
/// rank from @p first to @p last the boxes of it that the rank holds, what the rank reads for them and what it takes of
/// what others read. Waves are those of this parameter alone; in a load they hold others, too.
/// @param name of the parameter, or one that is tied to it.
/// @throws Error input for a name that the checkpoint does not give, naming the nearest one; as make_plan.
std::string explain_parameter(Catalog const& catalog, Architecture const& architecture, PlanOptions options,
                              std::string const& name, std::span<FileFacts const> facts, std::int64_t first,
                              std::int64_t last);

}  // namespace shardwise
