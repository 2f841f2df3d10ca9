/// @file
/// How a rank's staging memory is divided between direct reads, waves and messages.
#pragma once

#include <cstdint>

#include <shardwise/back_ends.hpp>
#include <shardwise/mesh.hpp>

namespace shardwise {

struct StagingBudget {
    std::uint64_t request_bytes = 0;    ///< greatest read
    std::uint32_t direct_buffers = 0;   ///< each of request_bytes
    std::uint32_t slot_count = 0;       ///< waves in flight
    std::uint32_t exchanges_at_once = 0;  ///< of these, under exchange
    std::int64_t stage_stripes = 0;     ///< ranks of one pipeline stage that read in one wave
    std::uint64_t stripe_bytes = 0;     ///< greatest one of a wave, whole pages
    std::uint64_t descriptor_bytes = 0; ///< for what one stream of a GPU is told to do
};

/// Divides @p staging_bytes. A quarter goes to direct reads. The rest bounds a wave's line: in the worst case a rank
/// has memory as long as the line for each slot, for each outbox (those of a node together are as long), and for
/// messages in and out of each exchange. The line falls into stripes of whole pages, one a rank while there are few; in
/// a large world only some ranks read in one wave, the others in the next ones, so that stripes stay long and what a
/// rank has to know of a wave does not grow with the world. With a GPU this is its memory, where there are no outboxes,
/// and slots are as long as a stripe; its requests are longer, and as much pinned memory of the host suffices to fill
/// the buffers and to carry messages. A small part of both tells its two streams what to do.
/// @throws Error memory naming --staging when it is below the least that works.
StagingBudget divide_staging(std::uint64_t staging_bytes, Mesh const& mesh, Device device);

}  // namespace shardwise
