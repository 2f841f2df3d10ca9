#include "plan/waves.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "plan/needed_blocks.hpp"
#include "util/checked.hpp"
#include "util/parallel.hpp"

namespace shardwise {
namespace {

/// Where a stripe lies on the line of its wave.
ByteRange line_range(WaveShape const& wave, std::uint64_t stripe) noexcept {
    auto const begin = std::min(wave.line_bytes, stripe * wave.stripe_bytes);
    return {begin, std::min(wave.line_bytes, begin + wave.stripe_bytes)};
}

ByteRange common(ByteRange const& a, ByteRange const& b) noexcept {
    auto const begin = std::max(a.begin, b.begin);
    return {begin, std::max(begin, std::min(a.end, b.end))};
}

/// Calls @p visit(stripe, its part of @p range) for every stripe that touches it.
template <class Visit>
void for_each_stripe(WaveShape const& wave, ByteRange const& range, Visit visit) {
    for (auto stripe = range.begin / wave.stripe_bytes; stripe * wave.stripe_bytes < range.end; ++stripe) {
        visit(stripe, common(range, line_range(wave, stripe)));
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

/// Blocks of pieces by the rank that they come from or go to, wave after wave.
class PiecesByPeer {
   public:
    std::vector<CopyBlock>& of(std::uint32_t peer) {
        auto const open = std::span(pieces_).first(peers_);
        auto const found = std::ranges::find(open, peer, &Pieces::peer);
        if (found != open.end()) { return found->blocks; }
        if (peers_ == pieces_.size()) { pieces_.emplace_back(); }
        pieces_[peers_].peer = peer;
        return pieces_[peers_++].blocks;
    }

    std::size_t count() const noexcept {
        std::size_t sum = 0;
        for (auto const& pieces : std::span(pieces_).first(peers_)) { sum += pieces.blocks.size(); }
        return sum;
    }

    /// What has come together, in order of peers; @p blocks gets the pieces, and the next wave begins.
    std::vector<Delivery> take(std::vector<CopyBlock>& blocks) {
        auto const open = std::span(pieces_).first(std::exchange(peers_, 0));
        std::ranges::sort(open, {}, &Pieces::peer);
        std::vector<Delivery> deliveries;
        deliveries.reserve(open.size());
        for (auto& [peer, own] : open) {
            if (own.empty()) { continue; }
            Delivery delivery;
            delivery.peer = peer;
            delivery.blocks = {static_cast<std::uint32_t>(blocks.size()), static_cast<std::uint32_t>(own.size())};
            for (auto const& block : own) { delivery.bytes += block.bytes(); }
            delivery.wire_bytes = delivery.bytes;
            std::ranges::move(own, std::back_inserter(blocks));
            own.clear();
            deliveries.push_back(delivery);
        }
        return deliveries;
    }

   private:
    struct Pieces {
        std::uint32_t peer = 0;
        std::vector<CopyBlock> blocks;  ///< keeps its memory from wave to wave
    };
    std::vector<Pieces> pieces_;
    std::size_t peers_ = 0;  ///< of this wave; those behind are memory to be used again
};

std::vector<StagedRead> reads_of(WaveShape const& wave, std::uint64_t stripe, std::uint64_t request_bytes) {
    std::vector<StagedRead> reads;
    auto const slot = line_range(wave, stripe);
    for (auto const& stretch : wave.stretches) {
        auto const part = common({stretch.line_begin, stretch.line_begin + stretch.range.size_bytes}, slot);
        for (auto at = part.begin; at < part.end;) {
            auto const end = std::min(part.end, align_down(at, kSlotAlignment) + request_bytes);
            reads.push_back(
                {{stretch.range.file, stretch.range.begin + (at - stretch.line_begin), end - at}, at - slot.begin});
            at = end;
        }
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
        if (line_begin >= limits_.wave_bytes()) {
            close();
            continue;
        }
        // A cut falls at the end of the line, a multiple of the alignment on the line and so in the file.
        range.size_bytes = std::min(range.size_bytes, limits_.wave_bytes() - line_begin);
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
        if (open_.line_bytes >= limits_.wave_bytes()) { close(); }
    }
}

void WaveBuilder::close() {
    auto const least = std::min(limits_.min_stripe_bytes, limits_.stripe_bytes);
    auto const even = ceil_div(open_.line_bytes, static_cast<std::uint64_t>(limits_.stripes));
    open_.stripe_bytes = align_up(std::max(even, least), kSlotAlignment);
    done_.push_back(std::exchange(open_, {}));
}

std::vector<WaveShape> WaveBuilder::finish() {
    if (!open_.stretches.empty()) { close(); }
    return std::move(done_);
}

std::int64_t StripeReaders::rank(std::size_t wave, std::uint64_t stripe) const noexcept {
    auto const number = static_cast<std::int64_t>(stripe);
    auto const stage = stages_[static_cast<std::size_t>(number / stage_stripes_)];
    auto const turned = number % stage_stripes_ * distance_ + static_cast<std::int64_t>(wave) % stage_ranks_;
    return stage * stage_ranks_ + turned % stage_ranks_;
}

std::optional<std::uint64_t> StripeReaders::stripe(std::size_t wave, std::int64_t rank) const noexcept {
    auto const found = std::ranges::find(stages_, mesh_.stage(rank));
    if (found == stages_.end()) { return std::nullopt; }
    auto const turned = rank % stage_ranks_ + stage_ranks_ - static_cast<std::int64_t>(wave) % stage_ranks_;
    auto const before = turned % stage_ranks_;
    if (before % distance_ != 0 || before / distance_ >= stage_stripes_) { return std::nullopt; }
    return static_cast<std::uint64_t>((found - stages_.begin()) * stage_stripes_ + before / distance_);
}

std::uint32_t StripeReaders::seat(std::size_t wave, std::uint64_t stripe) const noexcept {
    auto const reader = rank(wave, stripe);
    auto const place =
        stage_stripes_ == stage_ranks_ ? reader % stage_ranks_ : static_cast<std::int64_t>(stripe) % stage_stripes_;
    return static_cast<std::uint32_t>(mesh_.stage(reader) * stage_stripes_ + place);
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

/// What one rank does in the waves of one group. Each thread has one of its own.
class GroupMember {
   public:
    GroupMember(Plan const& plan, ReadGroup const& group, Demand const& demand, std::span<std::uint32_t const> numbers)
        : mesh_(plan.mesh),
          rank_(plan.rank),
          request_bytes_(plan.request_bytes),
          group_(group),
          readers_(plan.mesh, {group.stages.data(), group.stages.size()}, group.stage_stripes),
          uses_(demand.uses()),
          needed_(demand, numbers) {
        for (auto const stage : group.stages) {
            auto const first = stage * mesh_.dp * mesh_.copy_ranks();
            for (std::int64_t i = 0; i < mesh_.copy_ranks(); ++i) { leaders_.push_back(first + i); }
        }
    }

    Wave wave(std::size_t number) {
        auto const& shape = group_.shapes[number];
        auto const own_stripe = readers_.stripe(number, rank_);
        for (auto const& part : shape.parts) {
            add_receives(shape, number, part);
            if (own_stripe) { over_read_bytes_ -= add_sends(shape, *own_stripe, part); }
        }
        Wave wave;
        if (own_stripe) {
            wave.reads = reads_of(shape, *own_stripe, request_bytes_);
            wave.seat = readers_.seat(number, *own_stripe);
        }
        for (auto const& read : wave.reads) { over_read_bytes_ += read.range.size_bytes; }
        wave.blocks.reserve(receives_.count() + sends_.count());
        wave.receives = receives_.take(wave.blocks);
        wave.sends = sends_.take(wave.blocks);
        complete(wave, shape, number);
        return wave;
    }

    /// Of the waves so far: what this rank reads that nobody wants.
    std::uint64_t over_read_bytes() const noexcept { return over_read_bytes_; }

   private:
    void add_receives(WaveShape const& shape, std::size_t number, WavePart const& part) {
        auto const own = needed_.of(uses_[part.use], mesh_.leader(rank_));
        ByteRange const line = {part.line_begin, part.line_begin + part.bytes.size()};
        for_each_stripe(shape, line, [&](std::uint64_t stripe, ByteRange const& piece) {
            auto const reader = static_cast<std::uint32_t>(readers_.rank(number, stripe));
            clip_to_slot(own, part, piece, stripe * shape.stripe_bytes, receives_.of(reader));
        });
    }

    /// Bytes of the part that this rank reads.
    std::uint64_t add_sends(WaveShape const& shape, std::uint64_t own_stripe, WavePart const& part) {
        auto const slot = line_range(shape, own_stripe);
        auto const piece = common({part.line_begin, part.line_begin + part.bytes.size()}, slot);
        if (piece.size() == 0 || group_.is_shared) { return piece.size(); }
        auto const own_leader = mesh_.leader(rank_);
        for (auto const leader : leaders_) {
            if (leader == own_leader && mesh_.dp == 1) { continue; }
            clip_to_slot(needed_.of(uses_[part.use], leader), part, piece, slot.begin,
                         sends_.of(static_cast<std::uint32_t>(leader)));
        }
        return piece.size();
    }

    /// Where neighbours find what is received. In a shared wave all ranks know of all what comes: bytes that one needs,
    /// the others need, too.
    void complete(Wave& wave, WaveShape const& shape, std::size_t number) const {
        wave.is_shared = group_.is_shared;
        for (auto& receive : wave.receives) {
            auto const stripe = *readers_.stripe(number, receive.peer);
            receive.seat = readers_.seat(number, stripe);
            if (!group_.is_shared) { continue; }
            receive.wire_bytes = line_range(shape, stripe).size();
            if (receive.peer == rank_) { wave.stripe_bytes = receive.wire_bytes; }
        }
    }

    Mesh mesh_;
    std::int64_t rank_;
    std::uint64_t request_bytes_;
    ReadGroup const& group_;
    StripeReaders readers_;
    std::span<SourceUse const> uses_;
    NeededBlocks needed_;
    std::vector<std::int64_t> leaders_;  ///< of the group's ranks
    std::uint64_t over_read_bytes_ = 0;
    PiecesByPeer receives_;
    PiecesByPeer sends_;
};

void assign_group(Plan& plan, ReadGroup const& group, Demand const& demand, std::span<std::uint32_t const> numbers) {
    constexpr std::size_t kLeastWaves = 64;
    auto const parts = parts_for_threads(group.shapes.size(), kLeastWaves);
    std::vector<std::uint64_t> over_read_bytes(parts.size());
    for_each_in_parallel(parts.size(), parts.size(), [&](std::size_t part) {
        GroupMember member(plan, group, demand, numbers);
        for (auto i = parts[part].begin; i < parts[part].end; ++i) {
            plan.waves[group.first_wave + i] = member.wave(i);
        }
        over_read_bytes[part] = member.over_read_bytes();
    });
    for (auto const bytes : over_read_bytes) { plan.totals.over_read_bytes += bytes; }
}

}  // namespace

void assign_waves(Plan& plan, std::span<ReadGroup const> groups, std::size_t wave_count, Demand const& demand,
                  std::span<std::uint32_t const> numbers) {
    plan.waves.resize(wave_count);
    for (auto const& group : groups) {
        for (auto const& shape : group.shapes) { plan.slot_bytes = std::max(plan.slot_bytes, shape.stripe_bytes); }
        if (!group.shapes.empty()) { plan.seats = static_cast<std::uint32_t>(group.stage_stripes * plan.mesh.pp); }
        bool const takes_part = std::ranges::find(group.stages, plan.mesh.stage(plan.rank)) != group.stages.end();
        if (takes_part) { assign_group(plan, group, demand, numbers); }
    }
}

}  // namespace shardwise
