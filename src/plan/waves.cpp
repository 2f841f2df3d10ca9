#include "plan/waves.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "util/checked.hpp"

namespace shardwise {
namespace {

/// Calls @p visit(rank, stripe's part of @p line_range) for every stripe that touches it.
template <class Visit>
void for_each_stripe(WaveShape const& wave, std::size_t wave_index, std::int64_t world, ByteRange line_range,
                     Visit visit) {
    for (auto stripe = line_range.begin / wave.stripe_bytes; stripe * wave.stripe_bytes < line_range.end; ++stripe) {
        auto const begin = stripe * wave.stripe_bytes;
        auto const rank = (stripe + wave_index) % static_cast<std::uint64_t>(world);
        visit(static_cast<std::uint32_t>(rank), begin,
              ByteRange{std::max(line_range.begin, begin), std::min(line_range.end, begin + wave.stripe_bytes)});
    }
}

/// Clips blocks (sources from the stored tensor's first byte) to the part's bytes that lie on @p line_range, and counts
/// their sources from @p slot_begin on the line.
void clip_to_slot(std::span<CopyBlock const> blocks, WavePart const& part, ByteRange line_range,
                  std::uint64_t slot_begin, std::vector<CopyBlock>& clipped) {
    auto const first = clipped.size();
    ByteRange const bytes = {part.bytes.begin + (line_range.begin - part.line_begin),
                             part.bytes.begin + (line_range.end - part.line_begin)};
    for (auto const& block : blocks) {
        if (block.source >= bytes.end) { break; }
        if (block.source + block.source_span() > bytes.begin) { clip(block, bytes, clipped); }
    }
    for (auto i = first; i < clipped.size(); ++i) {
        clipped[i].source = clipped[i].source - part.bytes.begin + part.line_begin - slot_begin;
    }
}

std::vector<Delivery> to_deliveries(std::map<std::uint32_t, std::vector<CopyBlock>> by_peer,
                                    std::vector<CopyBlock>& blocks) {
    std::vector<Delivery> deliveries;
    for (auto& [peer, own] : by_peer) {
        if (own.empty()) { continue; }
        Delivery delivery{peer, {static_cast<std::uint32_t>(blocks.size()), static_cast<std::uint32_t>(own.size())}, 0};
        for (auto const& block : own) { delivery.bytes += block.bytes(); }
        std::move(own.begin(), own.end(), std::back_inserter(blocks));
        deliveries.push_back(delivery);
    }
    return deliveries;
}

std::vector<StagedRead> reads_of(WaveShape const& wave, std::size_t wave_index, std::int64_t world, std::int64_t rank,
                                 std::uint64_t request_bytes) {
    std::vector<StagedRead> reads;
    for (auto const& stretch : wave.stretches) {
        ByteRange const line = {stretch.line_begin, stretch.line_begin + stretch.range.size_bytes};
        for_each_stripe(
            wave, wave_index, world, line, [&](std::uint32_t reader, std::uint64_t slot_begin, ByteRange part) {
                if (reader != static_cast<std::uint32_t>(rank)) { return; }
                for (auto at = part.begin; at < part.end;) {
                    auto const end = std::min(part.end, align_down(at, kSlotAlignment) + request_bytes);
                    reads.push_back({{stretch.range.file, stretch.range.begin + (at - stretch.line_begin), end - at},
                                     at - slot_begin});
                    at = end;
                }
            });
    }
    return reads;
}

}  // namespace

std::uint64_t WaveBuilder::place_for(FileRange const& range) const {
    if (!open_.stretches.empty()) {
        auto const& last = open_.stretches.back();
        bool const follows = last.range.file == range.file && range.begin >= last.range.end() &&
                             range.begin <= last.range.end() + limits_.max_gap;
        if (follows) { return last.line_begin + (range.begin - last.range.begin); }
    }
    return align_up(open_.line_bytes, kSlotAlignment) + range.begin % kSlotAlignment;
}

void WaveBuilder::add(std::uint32_t use, TensorRecord const& stored, ByteRange needed) {
    while (needed.size() > 0) {
        FileRange range{stored.file, stored.begin + needed.begin, needed.size()};
        auto const line_begin = place_for(range);
        if (line_begin >= limits_.wave_bytes) {
            close();
            continue;
        }
        // A cut falls at the end of the line, a multiple of the alignment on the line and so in the file.
        range.size_bytes = std::min(range.size_bytes, limits_.wave_bytes - line_begin);
        bool const follows =
            !open_.stretches.empty() && open_.stretches.back().range.file == range.file &&
            line_begin == open_.stretches.back().line_begin + (range.begin - open_.stretches.back().range.begin);
        if (follows) {
            open_.stretches.back().range.size_bytes = range.end() - open_.stretches.back().range.begin;
        } else {
            open_.stretches.push_back({range, line_begin});
        }
        open_.parts.push_back({use, {needed.begin, needed.begin + range.size_bytes}, line_begin});
        open_.line_bytes = line_begin + range.size_bytes;
        needed.begin += range.size_bytes;
        if (open_.line_bytes >= limits_.wave_bytes) { close(); }
    }
}

void WaveBuilder::close() {
    auto const world = static_cast<std::uint64_t>(limits_.world);
    auto const least = std::min(limits_.min_stripe_bytes, limits_.wave_bytes / world);
    open_.stripe_bytes = align_up(std::max(ceil_div(open_.line_bytes, world), least), kSlotAlignment);
    done_.push_back(std::exchange(open_, {}));
}

std::vector<WaveShape> WaveBuilder::finish() {
    if (!open_.stretches.empty()) { close(); }
    return std::move(done_);
}

void assign_waves(Plan& plan, std::span<WaveShape const> shapes, Demand& demand, std::uint64_t request_bytes) {
    auto const world = plan.mesh.world();
    auto const own_tp_rank = plan.mesh.tp_rank(plan.rank);
    for (std::size_t index = 0; index < shapes.size(); ++index) {
        auto const& shape = shapes[index];
        std::map<std::uint32_t, std::vector<CopyBlock>> receives;
        std::map<std::uint32_t, std::vector<CopyBlock>> sends;
        std::uint64_t wanted_bytes = 0;
        for (auto const& part : shape.parts) {
            auto const& use = demand.uses()[part.use];
            ByteRange const line = {part.line_begin, part.line_begin + part.bytes.size()};
            auto const own = demand.blocks_for(use, own_tp_rank);
            for_each_stripe(shape, index, world, line,
                            [&](std::uint32_t reader, std::uint64_t slot_begin, ByteRange piece) {
                                clip_to_slot(own, part, piece, slot_begin, receives[reader]);
                                if (reader != static_cast<std::uint32_t>(plan.rank)) { return; }
                                wanted_bytes += piece.size();
                                for (std::int64_t tp_rank = 0; tp_rank < plan.mesh.tp; ++tp_rank) {
                                    if (tp_rank == own_tp_rank && plan.mesh.dp == 1) { continue; }
                                    clip_to_slot(tp_rank == own_tp_rank ? own : demand.blocks_for(use, tp_rank), part,
                                                 piece, slot_begin, sends[static_cast<std::uint32_t>(tp_rank)]);
                                }
                            });
        }
        Wave wave;
        wave.reads = reads_of(shape, index, world, plan.rank, request_bytes);
        for (auto const& read : wave.reads) { plan.totals.over_read_bytes += read.range.size_bytes; }
        plan.totals.over_read_bytes -= wanted_bytes;
        wave.receives = to_deliveries(std::move(receives), plan.wave_blocks);
        wave.sends = to_deliveries(std::move(sends), plan.wave_blocks);
        plan.waves.push_back(std::move(wave));
        plan.slot_bytes = std::max(plan.slot_bytes, shape.stripe_bytes);
    }
}

}  // namespace shardwise
