/// @file
/// One wave on its way: from the slots that it was read into to other ranks, and into place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

#include "comm/transport.hpp"
#include "exec/placer.hpp"
#include "exec/wave_messages.hpp"
#include "plan/fan_out.hpp"

namespace shardwise {

/// What the exchanges of a load have in common.
struct ExchangeParts {
    Plan const& plan;
    Placer& placer;
    Transport& transport;
    FanOuts fans;
    bool has_far_ranks;
};

/// From the agreement that all ranks have read their stripes of the wave to the last piece in place. Several waves may
/// be exchanged at the same time, each on a channel and with memory of its own.
class WaveExchange {
   public:
    struct Resources {
        std::span<std::byte const> slot;  ///< what this rank has read of the wave
        std::span<std::byte> room;        ///< for messages, as message_bytes() says; empty where no rank is far
        std::uint32_t outbox = 0;         ///< index of what its neighbours have read of it
        std::uint32_t channel = 0;        ///< of the transport; no other exchange under way has it
    };

    /// Lets messages go and pieces be placed.
    WaveExchange(ExchangeParts& parts, std::uint32_t wave, Resources const& resources);

    /// Piece @p receive has come whole.
    void on_received(std::uint32_t receive);

    void on_placed() { --missing_pieces_; }

    /// Passes on what has come, as soon as the messages before are through; true if it did.
    bool advance();

    /// Everything is in place, and nothing is read out of slot, room and outbox any more.
    bool is_done() const noexcept;

    /// Bytes that this rank's tensors get out of the wave.
    std::uint64_t bytes() const noexcept;

   private:
    Wave const& wave() const noexcept { return parts_.plan.waves[number_]; }
    std::span<std::byte> take_room(std::uint64_t size_bytes);
    void start_broadcasts();
    void gather_pieces();
    std::span<std::byte const> pack(Delivery const& delivery, std::span<std::byte const> source);
    std::span<std::byte const> source_of(std::uint32_t piece) const;
    void start_round();
    void place(std::uint32_t receive, std::span<std::byte const> bytes, bool is_packed);

    ExchangeParts& parts_;
    std::uint32_t number_;
    Resources resources_;
    std::vector<WaveMessage> list_;  ///< by round
    std::size_t next_message_ = 0;
    std::vector<std::span<std::byte>> rooms_;         ///< by piece: where it comes in
    std::vector<std::span<std::byte const>> packed_;  ///< by piece: as it goes out
    std::size_t missing_pieces_;
};

}  // namespace shardwise
