#include "plan/read_order.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <tuple>
#include <utility>

namespace shardwise {
namespace {

/// Long enough for storage to read ahead in each file, short enough that what a hundred ranks have under way lies in
/// many.
constexpr std::uint64_t kTurnBytes = 16ULL << 20U;

/// File systems of many servers often keep a file on one of them. The more files at once, the later is whole what is
/// wanted first; a round figure, not a measured one.
constexpr std::uint32_t kManyFiles = 16;

/// Puts @p indices, places of one round, into turns of files; those of a file stay in their order.
void deal_by_turns(std::span<std::uint32_t> indices, std::span<ReadPlace const> places) {
    struct Turn {
        std::uint64_t number;
        std::uint32_t file;
        std::uint32_t index;
    };
    std::map<std::uint32_t, std::uint64_t> bytes_before;  // by file
    std::vector<Turn> turns;
    for (auto const index : indices) {
        auto const& place = places[index];
        turns.push_back({bytes_before[place.file] / kTurnBytes, place.file, index});
        bytes_before[place.file] += place.bytes;
    }
    std::ranges::stable_sort(turns, {}, [](Turn const& turn) { return std::pair(turn.number, turn.file); });
    std::ranges::transform(turns, indices.begin(), &Turn::index);
}

}  // namespace

ReadOrder read_order(std::span<ReadPlace const> places, std::uint32_t files_at_once) {
    ReadOrder result;
    result.order.resize(places.size());
    std::iota(result.order.begin(), result.order.end(), 0U);
    for (std::size_t begin = 0; begin < places.size();) {
        std::set<std::uint32_t> files;
        auto end = begin;
        while (end < places.size() && places[end].priority == places[begin].priority &&
               (end == begin || files.size() < files_at_once)) {
            auto const group = places[end].group;
            auto const group_begin = result.order.begin() + static_cast<std::ptrdiff_t>(end);
            for (; end < places.size() && places[end].group == group; ++end) { files.insert(places[end].file); }
            std::sort(group_begin, result.order.begin() + static_cast<std::ptrdiff_t>(end),
                      [&](std::uint32_t a, std::uint32_t b) {
                          return std::tie(places[a].file, places[a].offset, a) <
                                 std::tie(places[b].file, places[b].offset, b);
                      });
        }
        if (files_at_once > 1) { deal_by_turns(std::span(result.order).subspan(begin, end - begin), places); }
        result.round_ends.push_back(end);
        begin = end;
    }
    return result;
}

FilesAtOnce choose_files_at_once(std::uint32_t asked, MachineProfile const& profile, std::span<FileFacts const> facts) {
    if (asked > 0) { return {asked, "asked for"}; }
    for (auto const& file : facts) {
        if (file.is_network && !file.is_cached()) { return {kManyFiles, file.file_system + ": files of many servers"}; }
    }
    bool const is_cached = !facts.empty() && std::ranges::all_of(facts, &FileFacts::is_cached);
    if (profile.shared_bytes_per_second > 0 && !is_cached) {
        return {kManyFiles, "profile " + profile.name + ": one file system for all nodes"};
    }
    return {1, is_cached ? "cached" : "drives of a node"};
}

}  // namespace shardwise
