/// @file
/// Work in many pieces, shared by the threads that this process may run at the same time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace shardwise {

/// Hardware threads in this thread's affinity mask, which is how a launcher binds a rank.
std::size_t own_hardware_threads() noexcept;

/// Indices [begin, end) of a list.
struct IndexRange {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t size() const noexcept { return end - begin; }
};

/// Neighbouring parts of @p count things, one a thread, no shorter than @p least if there are several: a thread for
/// fewer costs more than it saves. Empty if there is nothing.
std::vector<IndexRange> parts_for_threads(std::size_t count, std::size_t least);

/// Calls @p work(i) for every i below @p count, by this thread and others, @p threads in all; by fewer where the system
/// gives no more. If calls throw, the rest is done all the same, and what the lowest i has thrown is thrown again.
void for_each_in_parallel(std::size_t count, std::size_t threads, std::function<void(std::size_t)> const& work);

/// The same for files, each of which is mostly waited for: a few threads, whatever there are cores.
void for_each_file(std::size_t count, std::function<void(std::size_t)> const& work);

/// Makes one order of those of neighbouring sorted parts, two and two.
/// @param first of the list that the parts are of.
template <class Iterator, class Less>
void merge_in_parallel(Iterator first, std::span<IndexRange const> parts, Less less) {
    for (std::size_t width = 1; width < parts.size(); width *= 2) {
        auto const pairs = (parts.size() + width - 1) / (2 * width);
        for_each_in_parallel(pairs, pairs, [&](std::size_t pair) {
            auto const at = [&](std::size_t index) { return first + static_cast<std::ptrdiff_t>(index); };
            auto const begin = 2 * width * pair;
            auto const last = std::min(begin + 2 * width, parts.size()) - 1;
            std::inplace_merge(at(parts[begin].begin), at(parts[begin + width].begin), at(parts[last].end), less);
        });
    }
}

}  // namespace shardwise
