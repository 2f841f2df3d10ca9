/// @file
/// Ranges read through any reader, as many at a time as it has room for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "io/reader.hpp"

namespace shardwise::test {

/// Reads all of @p ranges, each into the span of @p into at its position, and returns the results by position.
/// A result that comes twice throws.
inline std::vector<ReadResult> read_all(Reader& reader, std::span<FileRange const> ranges,
                                        std::span<std::span<std::byte> const> into) {
    std::vector<ReadResult> by_position(ranges.size());
    std::vector<bool> has_come(ranges.size());
    std::vector<ReadResult> results;
    std::size_t submitted = 0;
    for (std::size_t finished = 0; finished < ranges.size();) {
        for (; submitted < ranges.size() && reader.has_room(); ++submitted) {
            reader.submit({submitted, ranges[submitted], into[submitted]});
        }
        reader.start();
        reader.poll(results, Wait::briefly);
        for (auto& result : results) {
            if (has_come.at(result.id)) { throw std::logic_error("a result came twice"); }
            has_come[result.id] = true;
            by_position[result.id] = std::move(result);
        }
        finished += results.size();
        results.clear();
    }
    return by_position;
}

inline std::string_view text_of(std::span<std::byte const> bytes) {
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

/// The pages of each range, one range after the other, cut from @p memory; empty spans once it is used up.
inline std::vector<std::span<std::byte>> pages_in(std::span<std::byte> memory, std::span<FileRange const> ranges) {
    std::vector<std::span<std::byte>> into;
    for (auto const& range : ranges) {
        auto const first = range.begin / kSlotAlignment;
        auto const pages = (range.end() + kSlotAlignment - 1) / kSlotAlignment - first;
        auto const room = memory.first(std::min<std::size_t>(memory.size(), pages * kSlotAlignment));
        into.push_back(room);
        memory = memory.subspan(room.size());
    }
    return into;
}

}  // namespace shardwise::test
