// Timelines of loads: what they note is what was done, and reading goes on while bytes are put in place.
#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "support/loading.hpp"
#include "support/slow_reader.hpp"
#include "support/slow_transport.hpp"

namespace shardwise::test {
namespace {

using namespace std::chrono_literals;

Way traced_way(StrategyChoice strategy) {
    Way way = {{"pread", ReaderChoice::pread, false, false}, {"automatic", 0, TransportChoice::automatic}};
    way.strategy = strategy;
    way.lanes = 2;
    way.trace = std::make_shared<TraceLog>();
    return way;
}

std::vector<TraceEvent> events_of(TraceLog const& log, std::string const& row) {
    auto events = log.events();
    std::erase_if(events, [&](TraceEvent const& event) { return !event.row.starts_with(row); });
    return events;
}

std::uint64_t bytes_of(std::vector<TraceEvent> const& events) {
    std::uint64_t bytes = 0;
    for (auto const& event : events) { bytes += event.bytes; }
    return bytes;
}

TEST(Trace, NotesEveryReadAndEveryWave) {
    for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
        auto const way = traced_way(strategy);
        auto context = make_job(way.network);
        auto const& model = model_on_disk(context.size());
        auto const plan = plan_for(model, way, context);
        auto load = start(plan, way, context);
        EXPECT_EQ(difference(load.wait(), plan, model), "");
        auto const reads = events_of(*way.trace, "reads");
        EXPECT_EQ(reads.size(), plan.totals.requests);
        EXPECT_EQ(bytes_of(reads), plan.totals.read_bytes);
        EXPECT_EQ(bytes_of(events_of(*way.trace, "waves")), plan.totals.needed_bytes * (plan.waves.empty() ? 0 : 1));
        EXPECT_FALSE(events_of(*way.trace, "lane").empty());
        auto const now = way.trace->now();
        for (auto const& event : way.trace->events()) {
            EXPECT_GE(event.begin, 0);
            EXPECT_LE(event.begin, event.end) << event.row << ": " << event.name;
            EXPECT_LE(event.end, now);
        }
        EXPECT_GT(load.report().first_tensor_seconds, 0);
        ASSERT_EQ(load.report().priority_seconds.size(), 1U);
        EXPECT_GE(load.report().priority_seconds[0], load.report().first_tensor_seconds);
        EXPECT_LE(load.report().priority_seconds[0], load.report().seconds.total);
    }
}

/// With a reader that takes long, bytes are put in place while the next reads are under way, not in turns.
TEST(Trace, ReadsAreUnderWayWhileBytesArePutInPlace) {
    for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
        auto const way = traced_way(strategy);
        auto context = make_job(way.network);
        auto const& model = model_on_disk(context.size());
        auto const plan = plan_for(model, way, context);
        auto const slow = [](ReaderSet& readers) {
            readers.replace(ReaderKind::pread, std::make_unique<SlowReader>(readers.take(ReaderKind::pread), 5ms, 1ms));
        };
        auto load = start(plan, way, context, slow);
        EXPECT_EQ(difference(load.wait(), plan, model), "");
        auto const reads = events_of(*way.trace, "reads");
        auto const places = events_of(*way.trace, "lane");
        double last_begin = 0;
        for (auto const& read : reads) { last_begin = std::max(last_begin, read.begin); }
        std::size_t before_last = 0;
        std::size_t beside_reads = 0;
        for (auto const& place : places) {
            if (place.end > last_begin) { continue; }  // nothing is left to be read then
            ++before_last;
            beside_reads +=
                std::ranges::any_of(
                    reads, [&](TraceEvent const& read) { return read.begin < place.end && place.begin < read.end; })
                    ? 1U
                    : 0U;
        }
        if (reads.size() < 20) { continue; }  // too small a part of the model: all fits into the first reads
        EXPECT_GT(before_last, 0U);
        // Taking turns would give none; a thread that is not run for a while gives some that are alone.
        EXPECT_GT(2 * beside_reads, before_last) << beside_reads << " of " << before_last;
    }
}

/// The host, on a slow network that keeps so many exchanges apart.
class SlowNetwork final : public LoadBackend {
   public:
    SlowNetwork(Communicator& communicator, std::uint32_t channels)
        : host_(make_host_backend(communicator)), channels_(channels) {}

    std::vector<MemoryNeed> memory_needs(Plan const& plan) const override { return host_->memory_needs(plan); }
    Memory allocate_arena(std::uint64_t bytes) override { return host_->allocate_arena(bytes); }
    Memory allocate_tensor(std::uint64_t bytes) override { return host_->allocate_tensor(bytes); }
    Memory allocate_staging(std::uint64_t bytes) override { return host_->allocate_staging(bytes); }

    std::unique_ptr<Transport> make_transport(Plan const& plan, TransportChoice choice,
                                              std::vector<std::string>& notes) override {
        return std::make_unique<SlowTransport>(host_->make_transport(plan, choice, notes), 20ms, channels_);
    }
    std::unique_ptr<Placer> make_placer(Plan const& plan, TensorSpans tensors, Scalings scalings,
                                        LoadOptions const& options, std::string& reason) override {
        return host_->make_placer(plan, tensors, scalings, options, reason);
    }
    std::unique_ptr<ReaderSet> make_readers(Plan const& plan, LoadOptions const& options,
                                            Memory const& staging) override {
        return host_->make_readers(plan, options, staging);
    }

   private:
    std::unique_ptr<LoadBackend> host_;
    std::uint32_t channels_;
};

/// Pieces of one wave come while those of the one before are still under way; but not where a transport cannot keep
/// them apart.
TEST(Trace, ExchangesOfWavesOverlapWhereTheTransportAllows) {
    for (auto const channels : {1U, 2U}) {
        auto way = traced_way(StrategyChoice::cooperative);
        way.network = {"messages", 0, TransportChoice::mpi};
        way.backend = [&](Communicator& communicator) { return std::make_unique<SlowNetwork>(communicator, channels); };
        auto context = make_job(way.network);
        if (context.size() == 1) { GTEST_SKIP() << "one rank exchanges nothing"; }
        auto const& model = model_on_disk(context.size());
        auto const plan = plan_for(model, way, context);
        ASSERT_GE(plan.waves.size(), 4U);
        auto load = start(plan, way, context);
        EXPECT_EQ(difference(load.wait(), plan, model), "");
        auto exchanges = events_of(*way.trace, "waves");
        std::erase_if(exchanges, [](TraceEvent const& event) { return event.name != "exchange"; });
        ASSERT_EQ(exchanges.size(), plan.waves.size());
        std::size_t overlaps = 0;
        for (std::size_t i = 1; i < exchanges.size(); ++i) {
            overlaps += exchanges[i].begin < exchanges[i - 1].end ? 1U : 0U;
            if (i > 1) { EXPECT_GE(exchanges[i].begin, exchanges[i - 2].end) << "more than two at once"; }
        }
        if (channels == 1) {
            EXPECT_EQ(overlaps, 0U);
        } else {
            // A rank that gets nothing in a wave is done at once; one that is not run for a while makes others wait.
            EXPECT_GE(4 * overlaps, exchanges.size()) << "of " << exchanges.size();
        }
    }
}

}  // namespace
}  // namespace shardwise::test
