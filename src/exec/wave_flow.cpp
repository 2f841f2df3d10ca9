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

WaveFlow::WaveFlow(Plan const& plan, ReaderSet& readers, Placer& placer, Communicator& communicator,
                   Transport& transport, std::span<std::byte> slots, std::span<std::byte> messages, TraceLog* log)
    : plan_(plan),
      readers_(readers),
      placer_(placer),
      communicator_(communicator),
      transport_(transport),
      slots_(slots),
      messages_(messages),
      has_far_ranks_(has_far_ranks(plan, transport)),
      fans_(plan.mesh, communicator.layout().node_of),
      log_(log) {
    for (std::uint32_t wave = 0; wave < plan.waves.size(); ++wave) {
        auto const& reads = plan.waves[wave].reads;
        missing_reads_.push_back(reads.size());
        stripes_before_.push_back(static_cast<std::uint32_t>(own_waves_.size()));
        if (!reads.empty()) { own_waves_.push_back(wave); }
    }
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
    for (; read_ < own_waves_.size(); ++read_) {
        bool const is_slot_free = read_ < plan_.slot_count || own_waves_[read_ - plan_.slot_count] < placed_;
        if (!is_slot_free) { return has_fed; }
        auto const wave = own_waves_[read_];
        auto const& reads = plan_.waves[wave].reads;
        for (; next_read_ < reads.size(); ++next_read_) {
            auto const& [range, slot_offset] = reads[next_read_];
            if (!readers_.has_room(range.file)) { return has_fed; }
            auto const begin = align_down(slot_offset, kSlotAlignment);
            auto const end = align_up(slot_offset + range.size_bytes, kSlotAlignment);
            auto const into = slot_of(wave).subspan(begin, end - begin);
            auto const index = static_cast<std::uint32_t>(next_read_);
            ++reads_under_way_;
            readers_.submit({WorkId{WorkId::Kind::wave, wave, index}.pack(), range, into});
            has_fed = true;
        }
        next_read_ = 0;
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
    auto const& wave = plan_.waves[published_];
    if (auto const outbox = transport_.outbox(outbox_index(published_), wave.seat); !outbox.empty()) {
        auto const slot = slot_of(published_);
        for (auto const& [range, slot_offset] : wave.reads) {
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
    auto const& wave = exchanged();
    is_exchanging_ = true;
    missing_pieces_ = wave.receives.size();
    auto const pieces = wave.receives.size() + wave.sends.size() + 1;
    rooms_.assign(pieces, {});
    packed_.assign(pieces, {});
    list_.clear();
    next_message_ = 0;
    if (wave.is_shared && transport_.has_broadcast()) {
        start_broadcasts();
    } else if (has_far_ranks_) {
        list_ = messages_of(plan_, wave, fans_, transport_);
        gather_pieces();
        start_round();
    }
    place_what_is_near();
}

void WaveFlow::start_broadcasts() {
    auto const& wave = exchanged();
    auto room = messages_;
    for (std::uint32_t i = 0; i < wave.receives.size(); ++i) {
        auto const& receive = wave.receives[i];
        if (receive.peer == plan_.rank) { continue; }
        rooms_[i] = room.first(receive.wire_bytes);
        room = room.subspan(receive.wire_bytes);
        transport_.receive_broadcast(static_cast<int>(receive.peer), rooms_[i], i);
    }
    if (wave.stripe_bytes > 0) { transport_.broadcast(slot_of(agreed_ - 1).first(wave.stripe_bytes)); }
    transport_.start();
}

/// Gives every piece of a message its room, and packs those that this rank or a neighbour has read.
void WaveFlow::gather_pieces() {
    auto const& wave = exchanged();
    auto room = messages_;
    auto const take = [&](std::uint64_t size_bytes) {
        auto const taken = room.first(size_bytes);
        room = room.subspan(size_bytes);
        return taken;
    };
    for (auto const& message : list_) {
        auto& packed = packed_[message.piece];
        if (!packed.empty()) { continue; }  // sent to another rank, too, or passed on
        bool const is_receive = message.piece < wave.receives.size();
        if (message.is_incoming) {
            rooms_[message.piece] = take(wave.receives[message.piece].wire_bytes);
            packed = rooms_[message.piece];
            continue;
        }
        auto const source = source_of(message.piece);
        if (wave.is_shared) {
            packed = source.first(is_receive ? wave.receives[message.piece].wire_bytes : wave.stripe_bytes);
            continue;
        }
        auto const& delivery =
            is_receive ? wave.receives[message.piece] : wave.sends[message.piece - wave.receives.size()];
        auto const blocks = blocks_of(delivery);
        if (auto const ready = already_packed(blocks, source)) {
            packed = *ready;
        } else {
            auto const into = take(delivery.wire_bytes);
            placer_.pack(blocks, source, into);
            packed = into;
        }
    }
    placer_.finish_packing();
}

/// The memory, on this node, that its root read a piece into.
std::span<std::byte const> WaveFlow::source_of(std::uint32_t piece) {
    auto const& receives = exchanged().receives;
    bool const is_own = piece >= receives.size() || receives[piece].peer == plan_.rank;
    return is_own ? slot_of(agreed_ - 1) : transport_.outbox(outbox_index(agreed_ - 1), receives[piece].seat);
}

void WaveFlow::start_round() {
    if (next_message_ == list_.size()) { return; }
    for (auto const round = list_[next_message_].round;
         next_message_ < list_.size() && list_[next_message_].round == round; ++next_message_) {
        auto const& message = list_[next_message_];
        if (message.is_incoming) {
            transport_.receive(message.peer, rooms_[message.piece], message.piece);
        } else {
            transport_.send(message.peer, packed_[message.piece]);
        }
    }
    transport_.start();
}

void WaveFlow::place_what_is_near() {
    auto const& receives = exchanged().receives;
    for (std::uint32_t i = 0; i < receives.size(); ++i) {
        if (receives[i].peer != plan_.rank) { received_bytes_ += receives[i].bytes; }
        if (rooms_[i].empty()) { place_piece(i, source_of(i), false); }
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
    bool const is_packed = !exchanged().is_shared;
    for (auto const receive : received) {
        place_piece(static_cast<std::uint32_t>(receive), rooms_[receive], is_packed);
    }
    if (!transport_.is_idle()) { return !received.empty(); }
    if (next_message_ < list_.size()) {
        start_round();
        return true;
    }
    if (missing_pieces_ > 0) { return !received.empty(); }
    is_exchanging_ = false;
    ++placed_;
    std::uint64_t bytes = 0;
    for (auto const& receive : exchanged().receives) { bytes += receive.bytes; }
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
