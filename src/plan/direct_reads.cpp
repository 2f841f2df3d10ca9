#include "plan/direct_reads.hpp"

#include <algorithm>

#include "util/checked.hpp"

namespace shardwise {
namespace {

/// Joins ranges that are not more than @p max_gap apart; @p ranges are ordered by begin.
std::vector<ByteRange> merged(std::vector<ByteRange> ranges, std::uint64_t max_gap) {
    std::vector<ByteRange> result;
    for (auto const& range : ranges) {
        if (!result.empty() && range.begin <= result.back().end + max_gap) {
            result.back().end = std::max(result.back().end, range.end);
        } else {
            result.push_back(range);
        }
    }
    return result;
}

}  // namespace

void DirectReads::add(TensorRecord const& stored, std::span<CopyBlock const> needed) {
    std::vector<CopyBlock> absolute(needed.begin(), needed.end());
    std::vector<ByteRange> ranges;
    std::uint64_t unit = 1;
    for (auto& block : absolute) {
        if (!block.cast.is_move()) { unit = unit_bytes(block.cast.from); }
        block.source += stored.begin;
        source_ranges(block, limits_.max_gap, ranges);
    }
    std::sort(ranges.begin(), ranges.end(), [](ByteRange const& a, ByteRange const& b) { return a.begin < b.begin; });
    ranges = merged(std::move(ranges), limits_.max_gap);
    auto const way = way_for(stored.file, absolute, ranges);
    for (auto const& range : ranges) {
        // Cuts fall on aligned file offsets, so that direct I/O reads no page twice, unless they would cut an element.
        for (auto begin = range.begin; begin < range.end;) {
            auto end = std::min(range.end, align_down(begin, kSlotAlignment) + way.request_bytes);
            if (end < range.end) { end -= (end - stored.begin) % unit; }
            add_range(stored.file, {begin, end}, way, absolute);
            begin = end;
        }
    }
}

DirectReads::Way DirectReads::way_for(std::uint32_t file, std::span<CopyBlock const> absolute,
                                      std::span<ByteRange const> ranges) const {
    bool const is_cached = file < facts_.size() && facts_[file].is_cached();
    if (!is_cached) { return {false, limits_.request_bytes}; }
    std::uint64_t runs = 0;
    bool is_moved = true;
    for (auto const& block : absolute) {
        runs += block.runs();
        is_moved = is_moved && block.cast.is_move();
    }
    std::uint64_t with_gaps = 0;
    for (auto const& range : ranges) { with_gaps += range.size(); }
    bool const is_by_runs = is_moved && runs * kCallBytes <= with_gaps / kRoomCopyShare + kCallBytes;
    if (is_by_runs) { return {true, limits_.request_bytes}; }
    return {false, std::min(limits_.request_bytes, kCachedRequest)};
}

bool DirectReads::extend_last(std::uint32_t file, ByteRange range, Way way) {
    if (reads.empty() || reads.back().is_by_runs != way.is_by_runs) { return false; }
    auto& last = reads.back().range;
    bool const follows = last.file == file && range.begin >= last.end() && range.begin <= last.end() + limits_.max_gap;
    if (!follows || range.end > align_down(last.begin, kSlotAlignment) + way.request_bytes) { return false; }
    last.size_bytes = range.end - last.begin;
    return true;
}

void DirectReads::add_range(std::uint32_t file, ByteRange range, Way way, std::span<CopyBlock const> absolute) {
    if (!extend_last(file, range, way)) {
        reads.push_back(
            {{file, range.begin, range.size()}, {static_cast<std::uint32_t>(blocks.size()), 0}, way.is_by_runs});
    }
    auto& read = reads.back();
    // Blocks are ordered by source; a block may begin far before the range and still reach into it.
    for (auto const& block : absolute) {
        if (block.source >= range.end) { break; }
        if (block.source + block.source_span() > range.begin) { clip(block, range, blocks); }
    }
    for (auto i = read.blocks.first + read.blocks.count; i < blocks.size(); ++i) {
        blocks[i].source -= read.range.begin;
    }
    read.blocks.count = static_cast<std::uint32_t>(blocks.size()) - read.blocks.first;
}

}  // namespace shardwise
