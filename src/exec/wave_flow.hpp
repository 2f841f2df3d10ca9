/// @file
/// Reads that ranks share, wave after wave: read stripes, agree that all are read, exchange, place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>
#include <shardwise/trace.hpp>

#include "comm/communicator.hpp"
#include "comm/transport.hpp"
#include "exec/placer.hpp"
#include "exec/wave_messages.hpp"
#include "exec/work_ids.hpp"
#include "io/reader_set.hpp"

namespace shardwise {

/// Steps through the waves of a plan. A rank reads its stripes ahead, as many as there are slots, in whichever waves
/// they are. It joins the agreement on wave w when it has read its stripe of w, put it into outbox w mod S for its
/// neighbours, and placed wave w - 1. So once that agreement is reached, wave w may be exchanged, and what lay in the
/// outboxes of w - 1 and before is in place everywhere.
class WaveFlow {
   public:
    /// @param slots memory for Plan::slot_count slots, where this rank's stripes land.
    /// @param messages as message_bytes() says; empty where no rank is far.
    /// @param log gets an event for every agreement and exchange; null: none.
    WaveFlow(Plan const& plan, ReaderSet& readers, Placer& placer, Communicator& communicator, Transport& transport,
             std::span<std::byte> slots, std::span<std::byte> messages, TraceLog* log = nullptr);

    /// Moves on as far as it can without waiting; false if it could not.
    /// @param outcome_failed set when an agreement ends in failure; the flow then stands still.
    bool advance(std::optional<Outcome>& failure);

    void on_read(std::uint32_t wave);
    void on_placed(std::uint32_t wave);

    std::span<CopyBlock const> blocks_of(std::uint32_t wave, std::uint32_t receive) const;
    bool is_done() const noexcept { return placed_ == plan_.waves.size(); }

    /// An agreement joined and not yet reached, for a caller that has to leave together with the others.
    std::unique_ptr<Agreement> take_agreement() noexcept { return std::move(agreement_); }

    std::size_t reads_under_way() const noexcept { return reads_under_way_; }
    std::uint64_t received_bytes() const noexcept { return received_bytes_; }
    std::uint64_t staging_bytes() const noexcept { return slots_.size() + messages_.size(); }

   private:
    bool feed_reads();
    bool publish();
    bool join();
    bool exchange();
    void start_exchange();
    void start_broadcasts();
    void gather_pieces();
    void start_round();
    void place_what_is_near();
    std::span<std::byte const> source_of(std::uint32_t piece);
    void note(char const* what, std::uint64_t bytes);
    void place_piece(std::uint32_t receive, std::span<std::byte const> bytes, bool is_packed);

    std::uint32_t outbox_index(std::size_t wave) const noexcept {
        return static_cast<std::uint32_t>(wave % plan_.slot_count);
    }
    std::span<std::byte> slot_of(std::size_t wave) const noexcept {
        return slots_.subspan(stripes_before_[wave] % plan_.slot_count * plan_.slot_bytes, plan_.slot_bytes);
    }
    Wave const& exchanged() const noexcept { return plan_.waves[agreed_ - 1]; }
    std::span<CopyBlock const> blocks_of(Delivery const& delivery) const;

    Plan const& plan_;
    ReaderSet& readers_;
    Placer& placer_;
    Communicator& communicator_;
    Transport& transport_;
    std::span<std::byte> slots_;
    std::span<std::byte> messages_;
    bool has_far_ranks_;
    FanOuts fans_;
    std::vector<std::uint32_t> own_waves_;       ///< those that this rank reads a stripe of
    std::vector<std::uint32_t> stripes_before_;  ///< by wave: stripes of this rank in earlier ones

    std::size_t read_ = 0;                              ///< of own_waves_, whose reads were all submitted
    std::size_t published_ = 0;                         ///< waves whose stripe lies in the outbox
    std::size_t joined_ = 0;                            ///< waves whose agreement was joined
    std::size_t agreed_ = 0;                            ///< waves whose agreement was reached
    std::size_t placed_ = 0;                            ///< waves that are in place, everything sent
    std::size_t next_read_ = 0;                         ///< index into the reads of own wave `read_`
    std::vector<std::size_t> missing_reads_;            ///< by wave
    std::vector<WaveMessage> list_;                     ///< of the wave being exchanged, by round
    std::size_t next_message_ = 0;
    std::vector<std::span<std::byte>> rooms_;         ///< by piece: where it comes in
    std::vector<std::span<std::byte const>> packed_;  ///< by piece: as it goes out
    std::size_t missing_pieces_ = 0;
    bool is_exchanging_ = false;
    std::unique_ptr<Agreement> agreement_;
    std::size_t reads_under_way_ = 0;
    std::uint64_t received_bytes_ = 0;
    TraceLog* log_;
    double since_ = 0;  ///< for the log: when the agreement was joined, or the exchange began
};

}  // namespace shardwise
