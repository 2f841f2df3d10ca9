#include "exec/wave_flow.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "util/checked.hpp"

namespace shardwise {

WaveFlow::WaveFlow(Plan const& plan, ReaderSet& readers, Placer& placer, Communicator& communicator,
                   Transport& transport, std::span<std::byte> slots, std::span<std::byte> messages, TraceLog* log)
    : plan_(plan),
      readers_(readers),
      communicator_(communicator),
      transport_(transport),
      slots_(slots),
      messages_(messages),
      most_exchanges_(exchanges_at_once(plan, transport)),
      parts_{plan, placer, transport, FanOuts(plan.mesh, communicator.layout().node_of),
             has_far_ranks(plan, transport)},
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
    return test_agreement(failure) || has_moved;
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

/// The outbox of wave w - S is free when the agreement on w - S + X is reached.
bool WaveFlow::publish() {
    bool const is_ready = published_ < plan_.waves.size() && missing_reads_[published_] == 0 &&
                          published_ < agreed_ + plan_.slot_count - most_exchanges_;
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
    bool const is_ready = !agreement_ && joined_ < published_ && joined_ < placed_ + most_exchanges_;
    if (!is_ready) { return false; }
    transport_.synchronize();
    agreement_ = communicator_.start_agreement(std::nullopt);
    joined_at_ = now();
    ++joined_;
    return true;
}

bool WaveFlow::test_agreement(std::optional<Outcome>& failure) {
    if (!agreement_) { return false; }
    auto const outcome = agreement_->test();
    if (!outcome) { return false; }
    agreement_.reset();
    if (!outcome->is_ok()) {
        failure = outcome;
        return true;
    }
    note("agree", agreed_, joined_at_, 0);
    start_exchange();
    ++agreed_;
    return true;
}

void WaveFlow::start_exchange() {
    transport_.synchronize();
    auto const wave = static_cast<std::uint32_t>(agreed_);
    auto const channel = wave % most_exchanges_;
    auto const room = messages_.size() / most_exchanges_;
    auto const since = now();
    exchanges_.push_back({WaveExchange(parts_, wave,
                                       {.slot = slot_of(wave),
                                        .room = messages_.subspan(channel * room, room),
                                        .outbox = outbox_index(wave),
                                        .channel = channel}),
                          since});
    for (auto const& receive : plan_.waves[wave].receives) {
        if (receive.peer != plan_.rank) { received_bytes_ += receive.bytes; }
    }
}

bool WaveFlow::exchange() {
    if (exchanges_.empty()) { return false; }
    received_.clear();
    transport_.poll(received_);
    bool has_moved = !received_.empty();
    for (auto const packed : received_) {
        auto const id = WorkId::unpack(packed);
        exchanges_[id.wave - placed_].exchange.on_received(id.index);
    }
    for (auto& running : exchanges_) { has_moved = running.exchange.advance() || has_moved; }
    for (; !exchanges_.empty() && exchanges_.front().exchange.is_done(); ++placed_) {
        note("exchange", placed_, exchanges_.front().since, exchanges_.front().exchange.bytes());
        exchanges_.pop_front();
        has_moved = true;
    }
    return has_moved;
}

/// What has lasted from @p since until now.
void WaveFlow::note(char const* what, std::size_t wave, double since, std::uint64_t bytes) {
    if (log_ != nullptr) { log_->add({"waves", what, since, log_->now(), bytes, fmt::format("wave {}", wave)}); }
}

}  // namespace shardwise
