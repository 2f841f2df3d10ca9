/// @file
/// How many cores there are for this process.
#pragma once

#include <cstddef>

namespace shardwise {

struct CoreCount {
    std::size_t allowed = 1;  ///< that have a hardware thread in this process' affinity mask
    std::size_t node = 1;     ///< that the job may use on this node
};

/// Cores, not their hardware threads: two of one core copy hardly faster than one. What a job's cgroup leaves out does
/// not count. As hwloc has it; where it cannot look, one core.
CoreCount count_cores();

/// As they were counted when somebody first asked: to look takes some milliseconds.
CoreCount const& own_cores();

/// What can be told at once: hardware threads in this thread's affinity mask, and those of the node; at least as many
/// as there are cores.
CoreCount count_hardware_threads() noexcept;

}  // namespace shardwise
