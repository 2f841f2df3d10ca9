#include "exec/wave_flow.hpp"

#include <algorithm>

#include "util/checked.hpp"

namespace shardwise {
namespace {

/// The bytes of @p blocks in @p source if they lie there as they would be packed; nothing otherwise.
std::optional<std::span<std::byte const>> already_packed(std::span<CopyBlock const> blocks, std::span<std::byte const> source) {
    auto end = blocks.front().source;
    for (auto const& block : blocks) {
        if (!block.loops.empty() || block.source != end) { return std::nullopt; }
        end += block.run_bytes;
    }
    return source.subspan(blocks.front().source, end - blocks.front().source);
}

std::uint64_t message_bytes(Wave const& wave, Transport const& transport) {
    std::uint64_t bytes = 0;
    for (auto const& receive : wave.receives) {
        if (!transport.shares_memory_with(static_cast<int>(receive.peer))) { bytes += receive.bytes; }
    }
    for (auto const& send : wave.sends) { bytes += send.bytes; }
    return bytes;
}

}  // namespace

WaveFlow::WaveFlow(Plan const& plan, ReaderSet& readers, Lanes& lanes, Communicator& communicator, Transport& transport)
    : plan_(plan), readers_(readers), lanes_(lanes), communicator_(communicator), transport_(transport) {
    std::uint64_t room = 0;
    bool has_messages = false;
    for (auto const& wave : plan.waves) {
        missing_reads_.push_back(wave.reads.size());
        room = std::max(room, message_bytes(wave, transport));
    }
    for (int rank = 0; rank < communicator.size(); ++rank) { has_messages = has_messages || !transport.shares_memory_with(rank); }
    if (has_messages) { messages_ = HostMemory(room); }
}

bool WaveFlow::advance(std::optional<Outcome>& failure) {
    bool has_moved = feed_reads();
    has_moved = exchange() || has_moved;
    has_moved = join() || has_moved;
    if (agreement_) {
        if (auto const outcome = agreement_->test()) {
            agreement_.reset();
            if (!outcome->is_ok()) {
                failure = outcome;
                return true;
            }
            ++agreed_;
            start_exchange();
            has_moved = true;
        }
    }
    return has_moved;
}

bool WaveFlow::feed_reads() {
    bool has_fed = false;
    // The agreement on wave w says that every rank has placed wave w - 1.
    auto const placed_everywhere = agreed_ == 0 ? 0 : agreed_ - 1;
    while (read_ < plan_.waves.size() && read_ < placed_everywhere + plan_.slot_count) {
        auto const& reads = plan_.waves[read_].reads;
        for (; next_read_ < reads.size(); ++next_read_) {
            auto const& [range, slot_offset] = reads[next_read_];
            auto& reader = readers_.reader_of(range.file);
            if (!reader.has_room()) { return has_fed; }
            auto const begin = align_down(slot_offset, kSlotAlignment);
            auto const end = align_up(slot_offset + range.size_bytes, kSlotAlignment);
            auto const into = transport_.slot(slot_of(read_)).subspan(begin, end - begin);
            auto const index = static_cast<std::uint32_t>(next_read_);
            ++reads_under_way_;
            reader.submit({WorkId{WorkId::Kind::wave, static_cast<std::uint32_t>(read_), index}.pack(), range, into});
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

bool WaveFlow::join() {
    bool const is_ready = !agreement_ && joined_ < plan_.waves.size() && placed_ == joined_ && missing_reads_[joined_] == 0;
    if (!is_ready) { return false; }
    transport_.synchronize();
    agreement_ = communicator_.start_agreement(std::nullopt);
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

    auto room = messages_.bytes();
    for (std::uint32_t i = 0; i < wave.receives.size(); ++i) {
        auto const& receive = wave.receives[i];
        auto const peer = static_cast<int>(receive.peer);
        if (transport_.shares_memory_with(peer)) { continue; }
        incoming_[i] = room.first(receive.bytes);
        transport_.receive(peer, room.first(receive.bytes), i);
        room = room.subspan(receive.bytes);
    }
    send_pieces(wave, transport_.slot(slot_of(index)), room);
    for (std::uint32_t i = 0; i < wave.receives.size(); ++i) {
        auto const peer = static_cast<int>(wave.receives[i].peer);
        if (peer != communicator_.rank()) { received_bytes_ += wave.receives[i].bytes; }
        if (transport_.shares_memory_with(peer)) { place_piece(i, transport_.slot_of(peer, slot_of(index)), false); }
    }
}

void WaveFlow::send_pieces(Wave const& wave, std::span<std::byte const> slot, std::span<std::byte> room) {
    for (auto const& send : wave.sends) {
        std::span<std::byte const> packed;
        for (std::int64_t replica = 0; replica < plan_.mesh.dp; ++replica) {
            auto const rank = static_cast<int>(replica * plan_.mesh.tp + send.peer);
            if (transport_.shares_memory_with(rank)) { continue; }
            if (packed.empty()) {  // packed once for the receivers of all replicas
                auto const blocks = blocks_of(send);
                if (auto const ready = already_packed(blocks, slot)) {
                    packed = *ready;
                } else {
                    pack(blocks, slot, room.first(send.bytes));
                    packed = room.first(send.bytes);
                    room = room.subspan(send.bytes);
                }
            }
            transport_.send(rank, packed);
        }
    }
}

void WaveFlow::place_piece(std::uint32_t receive, std::span<std::byte const> bytes, bool is_packed) {
    auto const index = static_cast<std::uint32_t>(agreed_ - 1);
    lanes_.submit({WorkId{WorkId::Kind::wave, index, receive}.pack(), blocks_of(index, receive), bytes, is_packed, nullptr});
}

bool WaveFlow::exchange() {
    if (!is_exchanging_) { return false; }
    std::vector<std::uint64_t> received;
    transport_.poll(received);
    for (auto const receive : received) { place_piece(static_cast<std::uint32_t>(receive), incoming_[receive], true); }
    if (missing_pieces_ > 0 || !transport_.is_idle()) { return !received.empty(); }
    is_exchanging_ = false;
    ++placed_;
    return true;
}

void WaveFlow::on_placed(std::uint32_t) { --missing_pieces_; }

std::span<CopyBlock const> WaveFlow::blocks_of(Delivery const& delivery) const {
    return std::span(plan_.wave_blocks).subspan(delivery.blocks.first, delivery.blocks.count);
}

std::span<CopyBlock const> WaveFlow::blocks_of(std::uint32_t wave, std::uint32_t receive) const {
    return blocks_of(plan_.waves[wave].receives[receive]);
}

}  // namespace shardwise
