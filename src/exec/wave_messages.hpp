/// @file
/// Which messages carry a wave's pieces between ranks that share no memory.
#pragma once

#include <cstdint>
#include <vector>

#include <shardwise/plan.hpp>

#include "comm/transport.hpp"
#include "plan/fan_out.hpp"

namespace shardwise {

/// One message of this rank. Pieces of a wave are numbered: its receives, then its sends, then the stripe that is
/// broadcast.
struct WaveMessage {
    std::uint32_t round = 0;
    std::uint32_t root = 0;  ///< the rank that read the piece
    int peer = 0;            ///< it comes from or goes to
    bool is_incoming = false;
    std::uint32_t piece = 0;
};

/// Those of this rank in @p wave, by round, and between two ranks in the same order on both.
std::vector<WaveMessage> messages_of(Plan const& plan, Wave const& wave, FanOuts& fans, Transport const& transport);

/// Whether this rank shares no memory with some other.
bool has_far_ranks(Plan const& plan, Transport const& transport) noexcept;

/// Waves that are exchanged at the same time: as many as are planned, if the transport keeps them apart.
std::uint32_t exchanges_at_once(Plan const& plan, Transport const& transport) noexcept;

/// Memory for the packed pieces of any one wave, in and out, if all go by messages.
std::uint64_t message_bytes(Plan const& plan) noexcept;

}  // namespace shardwise
