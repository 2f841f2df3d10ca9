/// @file
/// How many threads of a rank copy, and how many reads it has under way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include <shardwise/materialize.hpp>

#include "exec/core_count.hpp"

namespace shardwise {

inline constexpr std::size_t kMostLanes = 4;  ///< of a rank, unless more are asked for

/// Cores this rank may use: those it is bound to, or else its share of the job's on the node.
std::size_t usable_cores(CoreCount const& cores, std::size_t ranks_on_node);

/// What the rank is bound to although its node has cores for more; empty if it is not. Open MPI binds ranks to one core
/// each where there are two at most.
std::string binding_note(CoreCount const& cores, std::size_t ranks_on_node);

/// The same of this process; the topology is looked at only where the number of hardware threads does not tell already.
std::size_t own_usable_cores(std::size_t ranks_on_node);
std::string own_binding_note(std::size_t ranks_on_node);

struct LaneChoice {
    std::size_t lanes = 1;
    std::string reason;
};

/// As many as there is work for, whatever the cores.
std::size_t wanted_lanes(Plan const& plan, LoadOptions const& options);

/// @param cores says how many the rank may use; asked only if there is work for more than one.
LaneChoice choose_lanes(Plan const& plan, LoadOptions const& options, std::function<std::size_t()> const& cores);

/// Requests of a rank that are under way with io_uring at the most.
std::size_t depth_of(LoadOptions const& options) noexcept;

/// The worker count of loaders that read files whole: one for every 100 MiB of all files, no more than @p most nor than
/// there are files, one at least. A single large file gets one.
std::size_t file_adaptive_lanes(std::span<std::uint64_t const> file_bytes, std::size_t most);

/// One for every 16 MiB, no more than @p most, one at least.
std::size_t lanes_by_bytes(std::uint64_t bytes, std::size_t most);

}  // namespace shardwise
