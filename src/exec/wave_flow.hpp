/// @file
/// Reads that ranks share, wave after wave: read stripes, agree that all are read, exchange, place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>
#include <shardwise/trace.hpp>

#include "comm/communicator.hpp"
#include "comm/transport.hpp"
#include "exec/placer.hpp"
#include "exec/wave_exchange.hpp"
#include "exec/work_ids.hpp"
#include "io/reader_set.hpp"

namespace shardwise {

/// Steps through the waves of a plan. A rank reads its stripes ahead, as many as there are slots, in whichever waves
/// they are. With X exchanges at once and S outboxes, it joins the agreement on wave w when it has read its stripe of
/// w, put it into outbox w mod S for its neighbours, and placed wave w - X. So once that agreement is reached, wave w
/// may be exchanged beside those before it, and what lay in the outboxes of w - X and before is in place everywhere.
class WaveFlow {
   public:
    /// @param slots memory for Plan::slot_count slots, where this rank's stripes land.
    /// @param messages as message_bytes() says, for each exchange at once; empty where no rank is far.
    /// @param log gets an event for every agreement and exchange; null: none.
    WaveFlow(Plan const& plan, ReaderSet& readers, Placer& placer, Communicator& communicator, Transport& transport,
             std::span<std::byte> slots, std::span<std::byte> messages, TraceLog* log = nullptr);

    /// Moves on as far as it can without waiting; false if it could not.
    /// @param outcome_failed set when an agreement ends in failure; the flow then stands still.
    bool advance(std::optional<Outcome>& failure);

    void on_read(std::uint32_t wave);
    void on_placed(std::uint32_t wave) { exchanges_[wave - placed_].exchange.on_placed(); }

    bool is_done() const noexcept { return placed_ == plan_.waves.size(); }

    /// An agreement joined and not yet reached, for a caller that has to leave together with the others.
    std::unique_ptr<Agreement> take_agreement() noexcept { return std::move(agreement_); }

    std::size_t reads_under_way() const noexcept { return reads_under_way_; }
    std::uint64_t received_bytes() const noexcept { return received_bytes_; }
    std::uint64_t staging_bytes() const noexcept { return slots_.size() + messages_.size(); }

   private:
    struct Running {
        WaveExchange exchange;
        double since;  ///< for the log
    };

    bool feed_reads();
    bool publish();
    bool join();
    bool test_agreement(std::optional<Outcome>& failure);
    void start_exchange();
    bool exchange();
    double now() const { return log_ == nullptr ? 0 : log_->now(); }
    void note(char const* what, std::size_t wave, double since, std::uint64_t bytes);

    std::uint32_t outbox_index(std::size_t wave) const noexcept {
        return static_cast<std::uint32_t>(wave % plan_.slot_count);
    }
    std::span<std::byte> slot_of(std::size_t wave) const noexcept {
        return slots_.subspan(stripes_before_[wave] % plan_.slot_count * plan_.slot_bytes, plan_.slot_bytes);
    }

    Plan const& plan_;
    ReaderSet& readers_;
    Communicator& communicator_;
    Transport& transport_;
    std::span<std::byte> slots_;
    std::span<std::byte> messages_;
    std::uint32_t most_exchanges_;
    ExchangeParts parts_;
    std::vector<std::uint32_t> own_waves_;       ///< those that this rank reads a stripe of
    std::vector<std::uint32_t> stripes_before_;  ///< by wave: stripes of this rank in earlier ones

    std::size_t read_ = 0;                    ///< of own_waves_, whose reads were all submitted
    std::size_t published_ = 0;               ///< waves whose stripe lies in the outbox
    std::size_t joined_ = 0;                  ///< waves whose agreement was joined
    std::size_t agreed_ = 0;                  ///< waves whose agreement was reached
    std::size_t placed_ = 0;                  ///< waves that are in place, everything sent
    std::size_t next_read_ = 0;               ///< index into the reads of own wave `read_`
    std::vector<std::size_t> missing_reads_;  ///< by wave
    std::deque<Running> exchanges_;           ///< of the waves that are agreed and not yet placed, in order
    std::vector<std::uint64_t> received_;
    std::unique_ptr<Agreement> agreement_;
    std::size_t reads_under_way_ = 0;
    std::uint64_t received_bytes_ = 0;
    TraceLog* log_;
    double joined_at_ = 0;  ///< for the log
};

}  // namespace shardwise
