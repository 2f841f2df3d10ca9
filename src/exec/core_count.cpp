#include "exec/core_count.hpp"

#include <algorithm>

#include <hwloc.h>
#include <unistd.h>

#include "util/handle.hpp"
#include "util/parallel.hpp"

namespace shardwise {
namespace {

struct TopologyTraits {
    using type = hwloc_topology_t;
    static type null() noexcept { return nullptr; }
    static void close(type topology) noexcept { hwloc_topology_destroy(topology); }
};

struct CpuSetTraits {
    using type = hwloc_cpuset_t;
    static type null() noexcept { return nullptr; }
    static void close(type set) noexcept { hwloc_bitmap_free(set); }
};

/// Cores and nothing else: to look for caches and devices takes longer than a small load.
UniqueHandle<TopologyTraits> load_topology() {
    hwloc_topology_t raw = nullptr;
    if (hwloc_topology_init(&raw) != 0) { return {}; }
    UniqueHandle<TopologyTraits> topology(raw);
    hwloc_topology_set_all_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(raw, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    return hwloc_topology_load(raw) == 0 ? std::move(topology) : UniqueHandle<TopologyTraits>();
}

}  // namespace

CoreCount count_cores() {
    auto const topology = load_topology();
    if (!topology) { return {}; }
    UniqueHandle<CpuSetTraits> const mask(hwloc_bitmap_alloc());
    bool const is_known = mask && hwloc_get_cpubind(topology.get(), mask.get(), HWLOC_CPUBIND_THREAD) == 0;
    CoreCount cores;
    cores.node = static_cast<std::size_t>(std::max(1, hwloc_get_nbobjs_by_type(topology.get(), HWLOC_OBJ_CORE)));
    if (!is_known) { return cores; }
    std::size_t allowed = 0;
    for (hwloc_obj_t core = nullptr;
         (core = hwloc_get_next_obj_by_type(topology.get(), HWLOC_OBJ_CORE, core)) != nullptr;) {
        allowed += hwloc_bitmap_intersects(core->cpuset, mask.get()) != 0 ? 1 : 0;
    }
    cores.allowed = std::max<std::size_t>(1, allowed);
    return cores;
}

CoreCount const& own_cores() {
    static auto const cores = count_cores();
    return cores;
}

CoreCount count_hardware_threads() noexcept {
    CoreCount threads;
    threads.node = static_cast<std::size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_CONF)));
    threads.allowed = own_hardware_threads();
    return threads;
}

}  // namespace shardwise
