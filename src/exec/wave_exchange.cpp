#include "exec/wave_exchange.hpp"

#include <optional>

#include "exec/work_ids.hpp"

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

WaveExchange::WaveExchange(ExchangeParts& parts, std::uint32_t wave_number, Resources const& resources)
    : parts_(parts), number_(wave_number), resources_(resources), missing_pieces_(wave().receives.size()) {
    auto const pieces = wave().receives.size() + wave().sends.size() + 1;
    rooms_.resize(pieces);
    packed_.resize(pieces);
    if (wave().is_shared && parts_.transport.has_broadcast()) {
        start_broadcasts();
    } else if (parts_.has_far_ranks) {
        list_ = messages_of(parts_.plan, wave(), parts_.fans, parts_.transport);
        gather_pieces();
        start_round();
    }
    for (std::uint32_t i = 0; i < wave().receives.size(); ++i) {
        if (rooms_[i].empty()) { place(i, source_of(i), false); }  // it lies on this node
    }
}

std::span<std::byte> WaveExchange::take_room(std::uint64_t size_bytes) {
    auto const taken = resources_.room.first(size_bytes);
    resources_.room = resources_.room.subspan(size_bytes);
    return taken;
}

void WaveExchange::start_broadcasts() {
    for (std::uint32_t i = 0; i < wave().receives.size(); ++i) {
        auto const& receive = wave().receives[i];
        if (receive.peer == parts_.plan.rank) { continue; }
        rooms_[i] = take_room(receive.wire_bytes);
        parts_.transport.receive_broadcast(static_cast<int>(receive.peer), rooms_[i],
                                           WorkId{WorkId::Kind::wave, number_, i}.pack());
    }
    if (wave().stripe_bytes > 0) { parts_.transport.broadcast(resources_.slot.first(wave().stripe_bytes)); }
    parts_.transport.start();
}

/// Gives every piece of a message its room, and packs those that this rank or a neighbour has read.
void WaveExchange::gather_pieces() {
    auto const& receives = wave().receives;
    for (auto const& message : list_) {
        auto const piece = message.piece;
        auto& packed = packed_[piece];
        if (!packed.empty()) { continue; }  // sent to another rank, too, or passed on
        bool const is_receive = piece < receives.size();
        if (message.is_incoming) {
            rooms_[piece] = take_room(receives[piece].wire_bytes);
            packed = rooms_[piece];
        } else if (wave().is_shared) {
            packed = source_of(piece).first(is_receive ? receives[piece].wire_bytes : wave().stripe_bytes);
        } else {
            packed = pack(is_receive ? receives[piece] : wave().sends[piece - receives.size()], source_of(piece));
        }
    }
    parts_.placer.finish_packing();
}

std::span<std::byte const> WaveExchange::pack(Delivery const& delivery, std::span<std::byte const> source) {
    auto const blocks = wave().blocks_of(delivery);
    if (auto const ready = already_packed(blocks, source)) { return *ready; }
    auto const into = take_room(delivery.wire_bytes);
    parts_.placer.pack(blocks, source, into);
    return into;
}

/// The memory, on this node, that its root read a piece into.
std::span<std::byte const> WaveExchange::source_of(std::uint32_t piece) const {
    auto const& receives = wave().receives;
    bool const is_own = piece >= receives.size() || receives[piece].peer == parts_.plan.rank;
    return is_own ? resources_.slot : parts_.transport.outbox(resources_.outbox, receives[piece].seat);
}

void WaveExchange::start_round() {
    if (next_message_ == list_.size()) { return; }
    for (auto const round = list_[next_message_].round;
         next_message_ < list_.size() && list_[next_message_].round == round; ++next_message_) {
        auto const& message = list_[next_message_];
        if (message.is_incoming) {
            parts_.transport.receive({message.peer, resources_.channel}, rooms_[message.piece],
                                     WorkId{WorkId::Kind::wave, number_, message.piece}.pack());
        } else {
            parts_.transport.send({message.peer, resources_.channel}, packed_[message.piece]);
        }
    }
    parts_.transport.start();
}

void WaveExchange::on_received(std::uint32_t receive) {
    place(receive, rooms_[receive], !wave().is_shared);
}

void WaveExchange::place(std::uint32_t receive, std::span<std::byte const> bytes, bool is_packed) {
    parts_.placer.submit({.id = WorkId{WorkId::Kind::wave, number_, receive}.pack(),
                          .blocks = wave().blocks_of(wave().receives[receive]),
                          .source = bytes,
                          .is_packed = is_packed});
}

bool WaveExchange::advance() {
    if (next_message_ == list_.size() || !parts_.transport.is_idle_on(resources_.channel)) { return false; }
    start_round();
    return true;
}

bool WaveExchange::is_done() const noexcept {
    return missing_pieces_ == 0 && next_message_ == list_.size() && parts_.transport.is_idle_on(resources_.channel);
}

std::uint64_t WaveExchange::bytes() const noexcept {
    std::uint64_t sum = 0;
    for (auto const& receive : wave().receives) { sum += receive.bytes; }
    return sum;
}

}  // namespace shardwise
