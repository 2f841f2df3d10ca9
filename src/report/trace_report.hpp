/// @file
/// Timelines of ranks as a Chrome trace, which Perfetto opens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <shardwise/trace.hpp>

namespace shardwise {

/// What one rank's log holds, as a message.
struct RankTrace {
    std::vector<TraceEvent> events;
    std::uint64_t left_out = 0;
};
std::vector<std::byte> encode(RankTrace const& trace);
RankTrace decode_rank_trace(std::span<std::byte const> bytes);

/// Writes the document rank after rank, so that no rank holds what all have.
class TraceText {
   public:
    /// A process for the rank and a thread for each of its rows; events of a row that overlap get rows of their own,
    /// numbered from 2.
    void add_rank(int rank, RankTrace const& trace);

    std::string finish();

   private:
    void add_line(std::string const& line);

    std::string text_ = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [";
    bool is_first_ = true;
};

}  // namespace shardwise
