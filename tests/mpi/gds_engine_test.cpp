// Whole loads through GPUDirect Storage: planner, executor and reader over a stand-in for cuFile that watches the
// rules, into emulated GPUs.
#include <algorithm>

#include <fmt/format.h>

#include "support/gds_test.hpp"
#include "support/loading.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

int world_size() {
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
}

class GdsEngine : public GdsTest {
   protected:
    /// A load by cuFile, or by whatever auto finds.
    Way way(ReaderChoice choice, StrategyChoice strategy, std::uint64_t staging_bytes = 1ULL << 20U) {
        Way way = {{"gds", choice, false, true}, {"messages", 0, TransportChoice::mpi}, strategy, staging_bytes};
        way.device = Device::cuda;
        way.backend = [this](Communicator& communicator) {
            std::shared_ptr<Accelerator> const gpu(&*accelerator_, [](Accelerator*) {});
            return make_gpu_backend(communicator, gpu, &driver());
        };
        return way;
    }

    static std::uint64_t bytes_by(LoadReport const& report, std::string const& reader) {
        for (auto const& bytes : report.readers) {
            if (bytes.reader == reader) { return bytes.bytes; }
        }
        return 0;
    }

    /// What one rank's failure makes of all of them.
    static Error ending_of(Way const& way) {
        auto context = make_job(way.network);
        auto const plan = plan_for(model_on_disk(context.size()), way, context);
        try {
            start(plan, way, context).wait();
        } catch (Error const& error) { return error; }
        return Error(Errc::usage, "no error");
    }
};

TEST_F(GdsEngine, WhatCuFileReadsIsTheCutOfTheConvertedWhole) {
    for (auto const choice : {ReaderChoice::gds, ReaderChoice::automatic}) {
        for (auto const strategy : {StrategyChoice::automatic, StrategyChoice::direct, StrategyChoice::cooperative}) {
            for (auto const staging : {1ULL << 20U, 16ULL << 20U}) {
                auto const way = this->way(choice, strategy, staging);
                SCOPED_TRACE(describe(way));
                auto context = make_job(way.network);
                auto const& model = model_on_disk(Mesh{.tp = context.size()}, Casts::some);
                auto const plan = plan_for(model, way, context);
                auto load = start(plan, way, context);
                ASSERT_EQ(difference(load.wait(), plan, model), "");
                auto const& report = load.report();
                EXPECT_GT(bytes_by(report, "gds"), 0U);
                EXPECT_EQ(bytes_by(report, "gds") + bytes_by(report, "scales"), report.read_bytes);
                EXPECT_EQ(report.files.front().reader, "gds");
                EXPECT_THAT(report.notes, Contains(HasSubstr("reads of cuFile: ")));
            }
        }
    }
    EXPECT_EQ(fake_.counts().open_buffers, 0);
    EXPECT_EQ(fake_.counts().open_files, 0);
}

TEST_F(GdsEngine, RangesThatCuFileRefusesGoThroughPinnedMemory) {
    for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
        auto const way = this->way(ReaderChoice::automatic, strategy);
        auto context = make_job(way.network);
        auto const& model = model_on_disk(context.size());
        auto const plan = plan_for(model, way, context);
        // The second read of the load; those of the trials come before, one a file.
        auto const trials = static_cast<int>(plan.files.size());
        fake_.script(fake_.counts().reads + trials + 1, {FakeRead::Kind::refused, 5030});
        auto load = start(plan, way, context);
        EXPECT_EQ(difference(load.wait(), plan, model), "");
        auto const& notes = load.report().notes;
        bool const has_said = std::any_of(notes.begin(), notes.end(), [](std::string const& note) {
            return note.find("GPUDirect Storage refused") != std::string::npos;
        });
        EXPECT_EQ(has_said, plan.totals.requests > 1) << "of " << plan.totals.requests << " requests";
    }
}

TEST_F(GdsEngine, ARankWithoutGpuDirectStorageReadsThroughPinnedMemory) {
    auto const way = this->way(ReaderChoice::automatic, StrategyChoice::cooperative);
    auto context = make_job(way.network);
    bool const is_mine = context.rank() == context.size() - 1;
    if (is_mine) { fake_.script_all({FakeRead::Kind::fails, EIO}); }
    auto const& model = model_on_disk(context.size());
    auto const plan = plan_for(model, way, context);
    auto load = start(plan, way, context);
    EXPECT_EQ(difference(load.wait(), plan, model), "");
    EXPECT_EQ(bytes_by(load.report(), "gds") > 0, !is_mine);
    if (is_mine) { EXPECT_THAT(load.report().files.front().reason, HasSubstr("through pinned memory: GDS: ")); }
}

TEST_F(GdsEngine, WhatWasAskedForAndCannotBeHadIsRefusedByName) {
    fake_.answer_handle_register(5027);
    auto const error = ending_of(way(ReaderChoice::gds, StrategyChoice::direct));
    EXPECT_EQ(error.code(), Errc::unavailable);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("--io gds"), HasSubstr("part-")));
}

TEST_F(GdsEngine, AReadThatFailsLaterNamesFileAndPlace) {
    bool const is_mine = make_world()->rank() == 0;
    // Reads of the trial come first, one a file.
    if (is_mine) { fake_.script(5, {FakeRead::Kind::refused, 5030}); }
    auto const error = ending_of(way(ReaderChoice::gds, StrategyChoice::direct));
    EXPECT_EQ(error.code(), Errc::io);
    EXPECT_EQ(error.rank(), 0);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("part-"), HasSubstr(" at ")));
}

}  // namespace
}  // namespace shardwise::test
