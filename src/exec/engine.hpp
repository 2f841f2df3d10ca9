/// @file
/// The event loop of a load: feeds reads, places what comes back, steps through the waves, and sees to it that all
/// ranks end together.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <shardwise/context.hpp>
#include <shardwise/materialize.hpp>

#include "comm/communicator.hpp"
#include "comm/transport.hpp"
#include "exec/direct_flow.hpp"
#include "exec/load_backend.hpp"
#include "exec/parameter_store.hpp"
#include "exec/phase_clock.hpp"
#include "exec/scales.hpp"
#include "exec/tensor_tracker.hpp"
#include "exec/wave_flow.hpp"
#include "io/reader_set.hpp"

namespace shardwise {

/// Hooks for tests: something done to the readers before the first read.
using ReaderHook = std::function<void(ReaderSet&)>;

using MakeBackend = std::function<std::unique_ptr<LoadBackend>()>;

class Materialization::Engine {
   public:
    /// Collective; throws the same error on all ranks, whichever @p make_backend fails on.
    Engine(Plan const& plan, Context& context, LoadOptions options, MakeBackend const& make_backend,
           ReaderHook const& hook = {});
    ~Engine();

    std::optional<HeldTensor> next();
    ParameterStore wait();
    void cancel();
    LoadReport const& report() const noexcept { return report_; }

   private:
    enum class State : std::uint8_t { loading, done, failed };

    void start(MakeBackend const& make_backend, ReaderHook const& hook);
    void check_memory();
    void make_parts(ReaderHook const& hook);
    template <class Enough>
    void go_on(char const* caller, Enough is_enough);
    void step();
    bool handle_read();
    bool handle_copies();
    void pause_until_something_happens();
    void finish_together();
    void fail(Error error);
    [[noreturn]] void leave_together();
    [[noreturn]] void give_up(Error const& error);
    [[noreturn]] void end_together(Outcome outcome);
    void abandon() noexcept;
    void fill_report();
    void tell_progress();

    Plan plan_;
    Communicator& communicator_;
    LoadOptions options_;
    LoadReport report_;
    State state_ = State::loading;
    std::optional<Error> error_;  ///< this rank's own failure
    std::size_t next_tensor_ = 0;
    std::shared_ptr<ParameterStore::Data> store_;
    LoadedScales scales_;
    PhaseClock clock_;  ///< begins before what is timed beside it
    TensorTracker tracker_;
    bool is_waiting_ = false;
    std::vector<ReadResult> reads_;
    std::size_t next_result_ = 0;  ///< of reads_, not yet taken in
    std::vector<PlaceDone> copies_;

    // In this order, for a load that is dropped half-way: first placing ends, which may be using readers, then the
    // reads, which land in staging memory.
    std::unique_ptr<LoadBackend> backend_;
    Memory staging_;   ///< slots of the waves, then buffers of direct reads
    Memory messages_;  ///< packed pieces of the waves under exchange
    std::unique_ptr<Transport> transport_;
    std::unique_ptr<WaveFlow> waves_;
    std::unique_ptr<DirectFlow> direct_;
    std::unique_ptr<ReaderSet> readers_;
    std::unique_ptr<Placer> placer_;
};

}  // namespace shardwise
