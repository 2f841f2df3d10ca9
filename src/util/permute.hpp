/// @file
/// Putting a list in an order that is known.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace shardwise {

/// Puts @p items in order: the one at place from[i] comes to place i. Each is moved once, along the cycles of the
/// permutation, and no second list takes memory.
template <class T>
void permute(std::vector<T>& items, std::vector<std::uint32_t> from) {
    for (std::uint32_t first = 0; first < from.size(); ++first) {
        if (from[first] == first) { continue; }
        auto displaced = std::move(items[first]);
        auto to = first;
        for (; from[to] != first; to = std::exchange(from[to], to)) { items[to] = std::move(items[from[to]]); }
        items[to] = std::move(displaced);
        from[to] = to;
    }
}

}  // namespace shardwise
