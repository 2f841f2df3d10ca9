#include "exec/wave_flow.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "util/checked.hpp"

namespace shardwise {
namespace {

/// The bytes of @p blocks in @p source if they lie there as they would be packed; nothing otherwise.
std::optional<std::span<std::byte const>> already_packed(std::span<CopyBlock const> blocks,
                                                         std::span<std::byte const> source) {
    auto end = blocks.front().source;
    for (auto const& block : blocks) {
        if (!block.loops.empty() || block.source != end) { return std::nullopt; }
        end += block.run_bytes;
    }
    return source.subspan(blocks.front().source, end - blocks.front().source);
}

}  // namespace

std::uint64_t message_bytes(Plan const& plan, std::function<bool(int)> const& is_message) {
    bool has_messages = false;
    for (int rank = 0; rank < plan.mesh.world(); ++rank) { has_messages = has_messages || is_message(rank); }
    if (!has_messages) { return 0; }
    std::uint64_t most = 0;
    for (auto const& wave : plan.waves) {
        std::uint64_t in_wave = 0;
        for (auto const& receive : wave.receives) {
            in_wave += is_message(static_cast<int>(receive.peer)) ? receive.wire_bytes : 0;
        }
        for (auto const& send : wave.sends) { in_wave += send.wire_bytes; }
        in_wave += wave.stripe_bytes;
        most = std::max(most, in_wave);
    }
    return most;
}

WaveFlow::WaveFlow(Plan const& plan, ReaderSet& readers, Placer& placer, Communicator& communicator,
                   Transport& transport, std::span<std::byte> slots, std::span<std::byte> messages, TraceLog* log)
    : plan_(plan),
      readers_(readers),
      placer_(placer),
      communicator_(communicator),
      transport_(transport),
      slots_(slots),
      messages_(messages),
      log_(log) {
    for (auto const& wave : plan.waves) { missing_reads_.push_back(wave.reads.size()); }
    for (int rank = 0; rank < communicator.size(); ++rank) {
        if (needs_messages(rank)) { far_ranks_.push_back(rank); }
    }
}

bool WaveFlow::needs_messages(int rank) const noexcept {
    return rank != communicator_.rank() && !transport_.shares_memory_with(rank);
}

bool WaveFlow::advance(std::optional<Outcome>& failure) {
    bool has_moved = feed_reads();
    if (has_moved) { readers_.start(); }
    has_moved = exchange() || has_moved;
    has_moved = publish() || has_moved;
    has_moved = join() || has_moved;
    if (agreement_) {
        if (auto const outcome = agreement_->test()) {
            agreement_.reset();
            if (!outcome->is_ok()) {
                failure = outcome;
                return true;
            }
            ++agreed_;
            note("agree", 0);
            start_exchange();
            has_moved = true;
        }
    }
    return has_moved;
}

bool WaveFlow::feed_reads() {
    bool has_fed = false;
    while (read_ < plan_.waves.size() && read_ < placed_ + plan_.slot_count) {
        auto const& reads = plan_.waves[read_].reads;
        for (; next_read_ < reads.size(); ++next_read_) {
            auto const& [range, slot_offset] = reads[next_read_];
            if (!readers_.has_room(range.file)) { return has_fed; }
            auto const begin = align_down(slot_offset, kSlotAlignment);
            auto const end = align_up(slot_offset + range.size_bytes, kSlotAlignment);
            auto const into = slot_of(read_).subspan(begin, end - begin);
            auto const index = static_cast<std::uint32_t>(next_read_);
            ++reads_under_way_;
            readers_.submit({WorkId{WorkId::Kind::wave, static_cast<std::uint32_t>(read_), index}.pack(), range, into});
            has_fed = true;
        }
        next_read_ = 0;
        ++read_;
    }
    return has_fed;
}

void WaveFlow::on_read(std::uint32_t wave) {
    --reads_under_way_;
    --missing_reads_[wave];
}

/// The outbox of wave w - S is free when the agreement on w - S + 1 is reached.
bool WaveFlow::publish() {
    bool const is_ready = published_ < plan_.waves.size() && missing_reads_[published_] == 0 &&
                          published_ < agreed_ + plan_.slot_count - 1;
    if (!is_ready) { return false; }
    auto const slot = slot_of(published_);
    if (auto const outbox = transport_.outbox(slot_index(published_)); !outbox.empty()) {
        for (auto const& [range, slot_offset] : plan_.waves[published_].reads) {
            std::memcpy(outbox.data() + slot_offset, slot.data() + slot_offset, range.size_bytes);
        }
    }
    ++published_;
    return true;
}

bool WaveFlow::join() {
    bool const is_ready = !agreement_ && joined_ < published_ && placed_ == joined_;
    if (!is_ready) { return false; }
    transport_.synchronize();
    agreement_ = communicator_.start_agreement(std::nullopt);
    since_ = log_ == nullptr ? 0 : log_->now();
    ++joined_;
    return true;
}

void WaveFlow::start_exchange() {
    transport_.synchronize();
    auto const index = agreed_ - 1;
    auto const& wave = plan_.waves[index];
    is_exchanging_ = true;
    missing_pieces_ = wave.receives.size();
    incoming_.assign(wave.receives.size(), {});

    auto room = messages_;
    for (std::uint32_t i = 0; i < wave.receives.size(); ++i) {
        auto const& receive = wave.receives[i];
        auto const peer = static_cast<int>(receive.peer);
        if (!needs_messages(peer)) { continue; }
        auto const into = room.first(receive.wire_bytes);
        room = room.subspan(receive.wire_bytes);
        incoming_[i] = into;
        if (wave.is_shared) {
            transport_.receive_broadcast(peer, into, i);
        } else {
            transport_.receive(peer, into, i);
        }
    }
    if (wave.stripe_bytes > 0) { transport_.broadcast(far_ranks_, slot_of(index).first(wave.stripe_bytes)); }
    send_pieces(wave, slot_of(index), room);
    placer_.finish_packing();
    transport_.start();
    for (std::uint32_t i = 0; i < wave.receives.size(); ++i) {
        auto const peer = static_cast<int>(wave.receives[i].peer);
        if (peer == communicator_.rank()) {
            place_piece(i, slot_of(index), false);
            continue;
        }
        received_bytes_ += wave.receives[i].bytes;
        if (transport_.shares_memory_with(peer)) {
            place_piece(i, transport_.outbox_of(peer, slot_index(index)), false);
        }
    }
}

void WaveFlow::send_pieces(Wave const& wave, std::span<std::byte const> slot, std::span<std::byte> room) {
    for (auto const& send : wave.sends) {
        std::span<std::byte const> packed;
        for (std::int64_t replica = 0; replica < plan_.mesh.dp; ++replica) {
            auto const rank = static_cast<int>(send.peer + replica * plan_.mesh.copy_ranks());
            if (!needs_messages(rank)) { continue; }
            if (packed.empty()) {  // packed once for the receivers of all replicas
                auto const blocks = blocks_of(send);
                if (auto const ready = already_packed(blocks, slot)) {
                    packed = *ready;
                } else {
                    packed = room.first(send.wire_bytes);
                    placer_.pack(blocks, slot, room.first(send.wire_bytes));
                    room = room.subspan(send.wire_bytes);
                }
            }
            transport_.send(rank, packed);
        }
    }
}

void WaveFlow::place_piece(std::uint32_t receive, std::span<std::byte const> bytes, bool is_packed) {
    auto const index = static_cast<std::uint32_t>(agreed_ - 1);
    placer_.submit({.id = WorkId{WorkId::Kind::wave, index, receive}.pack(),
                    .blocks = blocks_of(index, receive),
                    .source = bytes,
                    .is_packed = is_packed});
}

bool WaveFlow::exchange() {
    if (!is_exchanging_) { return false; }
    std::vector<std::uint64_t> received;
    transport_.poll(received);
    bool const is_packed = !plan_.waves[agreed_ - 1].is_shared;
    for (auto const receive : received) {
        place_piece(static_cast<std::uint32_t>(receive), incoming_[receive], is_packed);
    }
    if (missing_pieces_ > 0 || !transport_.is_idle()) { return !received.empty(); }
    is_exchanging_ = false;
    ++placed_;
    std::uint64_t bytes = 0;
    for (auto const& receive : plan_.waves[placed_ - 1].receives) { bytes += receive.bytes; }
    note("exchange", bytes);
    return true;
}

/// What has lasted since the last note, or since the agreement was joined.
void WaveFlow::note(char const* what, std::uint64_t bytes) {
    if (log_ == nullptr) { return; }
    auto const now = log_->now();
    log_->add({"waves", what, since_, now, bytes, fmt::format("wave {}", agreed_ - 1)});
    since_ = now;
}

void WaveFlow::on_placed(std::uint32_t) {
    --missing_pieces_;
}

std::span<CopyBlock const> WaveFlow::blocks_of(Delivery const& delivery) const {
    return std::span(plan_.wave_blocks).subspan(delivery.blocks.first, delivery.blocks.count);
}

std::span<CopyBlock const> WaveFlow::blocks_of(std::uint32_t wave, std::uint32_t receive) const {
    return blocks_of(plan_.waves[wave].receives[receive]);
}

}  // namespace shardwise
