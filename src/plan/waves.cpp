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
        Delivery delivery{peer, {static_cast<std::uint32_t>(blocks.size()), static_cast<std::uint32_t>(own.size())}};
        for (auto const& block : own) { delivery.bytes += block.bytes(); }
        delivery.wire_bytes = delivery.bytes;
        std::move(own.begin(), own.end(), std::back_inserter(blocks));
        deliveries.push_back(delivery);
    }
    return deliveries;
}

/// Bytes of the stripe that @p reader of @p world has of a wave.
std::uint64_t stripe_bytes_of(WaveShape const& wave, std::size_t wave_index, std::int64_t world, std::int64_t reader) {
    auto const ranks = static_cast<std::uint64_t>(world);
    auto const stripe = (static_cast<std::uint64_t>(reader) + ranks - wave_index % ranks) % ranks;
    auto const begin = std::min(wave.line_bytes, stripe * wave.stripe_bytes);
    return std::min(wave.stripe_bytes, wave.line_bytes - begin);
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

std::int64_t ReadGroup::ranks(Mesh const& mesh) const noexcept {
    return static_cast<std::int64_t>(stages.size()) * mesh.dp * mesh.copy_ranks();
}

std::int64_t ReadGroup::rank(Mesh const& mesh, std::int64_t index) const noexcept {
    auto const stage_ranks = mesh.dp * mesh.copy_ranks();
    return stages[static_cast<std::size_t>(index / stage_ranks)] * stage_ranks + index % stage_ranks;
}

std::optional<std::int64_t> ReadGroup::index(Mesh const& mesh, std::int64_t rank) const noexcept {
    auto const found = std::find(stages.begin(), stages.end(), mesh.stage(rank));
    if (found == stages.end()) { return std::nullopt; }
    auto const stage_ranks = mesh.dp * mesh.copy_ranks();
    return (found - stages.begin()) * stage_ranks + rank % stage_ranks;
}

std::size_t schedule(std::span<ReadGroup> groups) {
    std::map<std::int64_t, std::size_t> next_wave;  // by stage
    std::size_t count = 0;
    for (auto& group : groups) {
        group.first_wave = 0;
        for (auto const stage : group.stages) { group.first_wave = std::max(group.first_wave, next_wave[stage]); }
        auto const end = group.first_wave + group.shapes.size();
        for (auto const stage : group.stages) { next_wave[stage] = end; }
        count = std::max(count, end);
    }
    return count;
}

namespace {

/// What one rank does in the waves of one group.
class GroupMember {
   public:
    GroupMember(Plan& plan, ReadGroup const& group, std::int64_t own_index, Demand& demand, std::uint64_t request_bytes)
        : plan_(plan),
          group_(group),
          own_index_(own_index),
          demand_(demand),
          request_bytes_(request_bytes),
          ranks_(group.ranks(plan.mesh)) {
        for (auto const stage : group.stages) {
            auto const first = stage * plan.mesh.dp * plan.mesh.copy_ranks();
            for (std::int64_t i = 0; i < plan.mesh.copy_ranks(); ++i) { leaders_.push_back(first + i); }
        }
    }

    Wave wave(std::size_t number) {
        auto const& shape = group_.shapes[number];
        receives_.clear();
        sends_.clear();
        std::uint64_t wanted_bytes = 0;
        for (auto const& part : shape.parts) { wanted_bytes += add_part(shape, number, part); }
        Wave wave;
        wave.reads = reads_of(shape, number, ranks_, own_index_, request_bytes_);
        for (auto const& read : wave.reads) { plan_.totals.over_read_bytes += read.range.size_bytes; }
        plan_.totals.over_read_bytes -= wanted_bytes;
        wave.receives = to_deliveries(std::move(receives_), plan_.wave_blocks);
        wave.sends = to_deliveries(std::move(sends_), plan_.wave_blocks);
        if (group_.is_shared) { share(wave, shape, number); }
        return wave;
    }

   private:
      /// All ranks know of all what comes: bytes that one needs, the others need, too.
      void share(Wave& wave, WaveShape const& shape, std::size_t number) const {
          wave.is_shared = true;
          for (auto& receive : wave.receives) {
              receive.wire_bytes = stripe_bytes_of(shape, number, ranks_, *group_.index(plan_.mesh, receive.peer));
              if (receive.peer == plan_.rank) { wave.stripe_bytes = receive.wire_bytes; }
          }
      }

    /// Bytes of the part that this rank reads.
    std::uint64_t add_part(WaveShape const& shape, std::size_t number, WavePart const& part) {
        auto const& use = demand_.uses()[part.use];
        auto const own_leader = plan_.mesh.leader(plan_.rank);
        auto const own = demand_.blocks_for(use, own_leader);
        std::uint64_t read_bytes = 0;
        ByteRange const line = {part.line_begin, part.line_begin + part.bytes.size()};
        for_each_stripe(
            shape, number, ranks_, line, [&](std::uint32_t reader, std::uint64_t slot_begin, ByteRange piece) {
                auto const reading_rank = group_.rank(plan_.mesh, reader);
                clip_to_slot(own, part, piece, slot_begin, receives_[static_cast<std::uint32_t>(reading_rank)]);
                if (reading_rank != plan_.rank) { return; }
                read_bytes += piece.size();
                if (group_.is_shared) { return; }
                for (auto const leader : leaders_) {
                    if (leader == own_leader && plan_.mesh.dp == 1) { continue; }
                    clip_to_slot(leader == own_leader ? own : demand_.blocks_for(use, leader), part, piece, slot_begin,
                                 sends_[static_cast<std::uint32_t>(leader)]);
                }
            });
        return read_bytes;
    }

    Plan& plan_;
    ReadGroup const& group_;
    std::int64_t own_index_;
    Demand& demand_;
    std::uint64_t request_bytes_;
    std::int64_t ranks_;
    std::vector<std::int64_t> leaders_;  ///< of the group's ranks
    std::map<std::uint32_t, std::vector<CopyBlock>> receives_;
    std::map<std::uint32_t, std::vector<CopyBlock>> sends_;
};

}  // namespace

void assign_waves(Plan& plan, std::span<ReadGroup const> groups, std::size_t wave_count, Demand& demand,
                  std::uint64_t request_bytes) {
    plan.waves.resize(wave_count);
    for (auto const& group : groups) {
        for (auto const& shape : group.shapes) { plan.slot_bytes = std::max(plan.slot_bytes, shape.stripe_bytes); }
        auto const own_index = group.index(plan.mesh, plan.rank);
        if (!own_index) { continue; }
        GroupMember member(plan, group, *own_index, demand, request_bytes);
        for (std::size_t i = 0; i < group.shapes.size(); ++i) { plan.waves[group.first_wave + i] = member.wave(i); }
    }
}

}  // namespace shardwise
