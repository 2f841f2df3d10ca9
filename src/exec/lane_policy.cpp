#include "exec/lane_policy.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include <fmt/format.h>

#include "util/checked.hpp"

namespace shardwise {
namespace {

constexpr std::size_t kUringDepth = 64;
constexpr std::uint64_t kBytesOfALane = 16ULL << 20U;
constexpr std::uint64_t kFileBytesOfALane = 100ULL << 20U;

}  // namespace

std::size_t usable_cores(CoreCount const& cores, std::size_t ranks_on_node) {
    bool const is_bound = cores.allowed < cores.node;  // the launcher gave this rank a part of its own
    return std::max<std::size_t>(1, is_bound ? cores.allowed : cores.node / std::max<std::size_t>(1, ranks_on_node));
}

std::string binding_note(CoreCount const& cores, std::size_t ranks_on_node) {
    auto const share = cores.node / std::max<std::size_t>(1, ranks_on_node);
    if (cores.allowed >= std::min(share, kMostLanes)) { return {}; }
    return fmt::format(
        "ranks are bound to {} core(s) each, the node has {} for each: threads that copy and read share "
        "them (launch/ranks, or --bind-to none of mpirun, gives them more)",
        cores.allowed, share);
}

std::size_t own_usable_cores(std::size_t ranks_on_node) {
    auto const threads = count_hardware_threads();
    bool const has_one = threads.allowed == 1 || usable_cores(threads, ranks_on_node) == 1;
    return has_one ? 1 : usable_cores(own_cores(), ranks_on_node);
}

std::string own_binding_note(std::size_t ranks_on_node) {
    bool const has_share_of_one = count_hardware_threads().node < 2 * ranks_on_node;
    return has_share_of_one ? std::string() : binding_note(own_cores(), ranks_on_node);
}

std::size_t file_adaptive_lanes(std::span<std::uint64_t const> file_bytes, std::size_t most) {
    if (file_bytes.empty()) { return 1; }
    auto const all = std::accumulate(file_bytes.begin(), file_bytes.end(), std::uint64_t{0});
    auto const by_size = std::max<std::uint64_t>(1, all / kFileBytesOfALane);
    return std::max<std::size_t>(1, std::min({static_cast<std::size_t>(by_size), most, file_bytes.size()}));
}

std::size_t lanes_by_bytes(std::uint64_t bytes, std::size_t most) {
    return std::clamp<std::size_t>(static_cast<std::size_t>(ceil_div(bytes, kBytesOfALane)), 1,
                                   std::max<std::size_t>(1, most));
}

std::size_t depth_of(LoadOptions const& options) noexcept {
    return options.depth > 0 ? options.depth : kUringDepth;
}

std::size_t wanted_lanes(Plan const& plan, LoadOptions const& options) {
    if (options.lanes > 0) { return options.lanes; }
    if (options.lane_policy == LanePolicy::by_bytes) { return lanes_by_bytes(plan.store_bytes, kMostLanes); }
    std::vector<std::uint64_t> sizes;
    for (auto const& file : plan.files) { sizes.push_back(file.size_bytes); }
    return file_adaptive_lanes(sizes, kMostLanes);
}

LaneChoice choose_lanes(Plan const& plan, LoadOptions const& options, std::function<std::size_t()> const& cores) {
    auto const wanted = wanted_lanes(plan, options);
    if (options.lanes > 0) { return {wanted, "as asked for"}; }
    std::string const policy =
        options.lane_policy == LanePolicy::by_bytes ? "one a 16 MiB held" : "file-adaptive: one a 100 MiB of files";
    if (wanted == 1) { return {1, policy}; }
    auto const usable = cores();
    return {std::min(wanted, usable), fmt::format("{}; {} core(s), {} lanes at most", policy, usable, kMostLanes)};
}

}  // namespace shardwise
