#include "plan/direct_reads.hpp"

#include <algorithm>

#include "plan/cached_cost.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

/// Joins ranges that are not more than @p max_gap apart; @p ranges are ordered by begin.
void merge(std::vector<ByteRange>& ranges, std::uint64_t max_gap) {
    auto last = ranges.begin();
    for (auto const& range : ranges) {
        if (range.begin <= last->end + max_gap) {
            last->end = std::max(last->end, range.end);
        } else {
            *++last = range;
        }
    }
    if (!ranges.empty()) { ranges.erase(last + 1, ranges.end()); }
}

}  // namespace

std::uint64_t room_bytes(FileRange const& range) noexcept {
    return align_up(range.begin % kSlotAlignment + range.size_bytes, kSlotAlignment);
}

void DirectReads::add(TensorRecord const& stored, std::span<CopyBlock const> needed) {
    if (file_ != stored.file) { is_open_ = false; }
    file_ = stored.file;
    absolute_.assign(needed.begin(), needed.end());
    ranges_.clear();
    std::uint64_t unit = 1;
    for (auto& block : absolute_) {
        if (!block.cast.is_move()) { unit = unit_bytes(block.cast.from); }
        block.source += stored.begin;
        source_ranges(block, limits_.max_gap, ranges_);
    }
    std::ranges::sort(ranges_, {}, &ByteRange::begin);
    merge(ranges_, limits_.max_gap);
    auto const way = way_for(stored.file);
    for (auto const& range : ranges_) {
        // Cuts fall on aligned file offsets, so that direct I/O reads no page twice, unless they would cut an element.
        for (auto begin = range.begin; begin < range.end;) {
            auto end = std::min(range.end, align_down(begin, kSlotAlignment) + way.request_bytes);
            if (end < range.end) { end -= (end - stored.begin) % unit; }
            add_range(stored.file, {begin, end}, way);
            begin = end;
        }
    }
}

void DirectReads::append(DirectReads later) {
    auto const before = static_cast<std::uint32_t>(blocks.size());
    for (auto& read : later.reads) {
        read.blocks.first += before;
        reads.push_back(read);
    }
    blocks.insert(blocks.end(), later.blocks.begin(), later.blocks.end());
}

DirectReads::Way DirectReads::way_for(std::uint32_t file) const {
    bool const is_cached = file < facts_.size() && facts_[file].is_cached();
    if (!is_cached) { return {false, limits_.request_bytes}; }
    auto const runs = scattered(absolute_);
    std::uint64_t read_bytes = 0;
    for (auto const& range : ranges_) { read_bytes += range.size(); }
    bool const is_moved = std::ranges::all_of(absolute_, [](CopyBlock const& b) { return b.cast.is_move(); });
    if (is_moved && runs.cost() <= room_cost(runs.used_bytes, read_bytes)) { return {true, limits_.request_bytes}; }
    return {false, std::min(limits_.request_bytes, kCachedRequest)};
}

bool DirectReads::extend_last(ByteRange range, Way way) {
    if (!is_open_ || reads.back().is_scattered != way.is_scattered) { return false; }
    auto& last = reads.back().range;
    bool const follows = range.begin >= last.end() && range.begin <= last.end() + limits_.max_gap;
    if (!follows || range.end > align_down(last.begin, kSlotAlignment) + way.request_bytes) { return false; }
    last.size_bytes = range.end - last.begin;
    return true;
}

void DirectReads::add_range(std::uint32_t file, ByteRange range, Way way) {
    if (!extend_last(range, way)) {
        reads.push_back(
            {{file, range.begin, range.size()}, {static_cast<std::uint32_t>(blocks.size()), 0}, way.is_scattered});
        is_open_ = true;
    }
    auto& read = reads.back();
    // Blocks are ordered by source; a block may begin far before the range and still reach into it.
    for (auto const& block : absolute_) {
        if (block.source >= range.end) { break; }
        if (block.source + block.source_span() > range.begin) { clip(block, range, blocks); }
    }
    for (auto i = read.blocks.first + read.blocks.count; i < blocks.size(); ++i) {
        blocks[i].source -= read.range.begin;
    }
    read.blocks.count = static_cast<std::uint32_t>(blocks.size()) - read.blocks.first;
}

}  // namespace shardwise
