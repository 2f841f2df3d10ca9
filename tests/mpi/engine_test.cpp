// The law of equality with real files and real ranks: in whichever way a checkpoint is loaded, every rank holds the cut
// of the converted whole, bit for bit; and what the report says was counted.
#include <numeric>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "support/loading.hpp"

namespace shardwise::test {
namespace {

int world_size() {
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
}

/// Every combination; where there are more ranks than cores, one out of so many, so that each choice still meets each.
std::vector<Way> ways() {
    std::vector<Way> all;
    for (auto const& storage : storages()) {
        for (auto const& network : networks(world_size())) {
            for (auto const strategy :
                 {StrategyChoice::automatic, StrategyChoice::direct, StrategyChoice::cooperative}) {
                for (auto const staging : {1ULL << 20U, 16ULL << 20U}) {
                    for (auto const& mesh : meshes(world_size())) {
                        all.push_back({storage, network, strategy, staging, mesh, all.size() % 3});
                    }
                }
            }
        }
    }
    std::size_t const step = world_size() == 1 ? 1 : world_size() < 4 ? 5 : world_size() < 8 ? 13 : 37;
    std::vector<Way> chosen;
    for (std::size_t i = 0; i < all.size(); i += step) { chosen.push_back(all[i]); }
    return chosen;
}

/// Bytes of what the rank holds, which are not those that it is made of where types change.
std::uint64_t held_bytes(Plan const& plan) {
    return std::accumulate(plan.tensors.begin(), plan.tensors.end(), std::uint64_t{0},
                           [](std::uint64_t sum, PlannedTensor const& tensor) { return sum + tensor.size_bytes; });
}

void expect_counted(LoadReport const& report, Plan const& plan, Way const& way) {
    EXPECT_EQ(report.placed_bytes, held_bytes(plan));
    EXPECT_EQ(report.exchanged_bytes, plan.totals.received_bytes);
    EXPECT_LE(report.staging_bytes, way.staging_bytes);
    if (way.storage.choice == ReaderChoice::mmap) {
        EXPECT_LE(report.read_bytes, plan.totals.read_bytes) << "only used bytes count";
    } else if (way.storage.allows_direct) {
        EXPECT_GE(report.read_bytes, plan.totals.read_bytes) << "whole pages count";
    } else {
        EXPECT_EQ(report.read_bytes, plan.totals.read_bytes);
        EXPECT_EQ(report.requests, plan.totals.requests);
    }
    auto const by_reader =
        std::accumulate(report.readers.begin(), report.readers.end(), std::uint64_t{0},
                        [](std::uint64_t sum, ReaderBytes const& reader) { return sum + reader.bytes; });
    EXPECT_EQ(by_reader, report.read_bytes);
    EXPECT_NEAR(report.seconds.read + report.seconds.exchange + report.seconds.place, report.seconds.total, 1e-6);
}

TEST(Engine, AnyWayOfLoadingGivesTheCutOfTheConvertedWhole) {
    int waves = 0;
    for (auto const& way : ways()) {
        SCOPED_TRACE(describe(way));
        auto context = make_job(way.network);
        auto const& model = model_on_disk(mesh_of(way, context.size()), Casts::some);
        auto const plan = plan_for(model, way, context);
        auto load = start(plan, way, context);
        auto const store = load.wait();
        ASSERT_EQ(difference(store, plan, model), "");
        expect_counted(load.report(), plan, way);
        ASSERT_FALSE(::testing::Test::HasFailure());
        waves += plan.waves.size() > 3 ? 1 : 0;
    }
    EXPECT_GT(waves, 0) << "no load had more waves than slots";
}

Way plain_way(StrategyChoice strategy) {
    Way way = {{"pread", ReaderChoice::pread, false, false}, {"automatic", 0, TransportChoice::automatic}};
    way.strategy = strategy;
    return way;
}

TEST(Engine, ReplicasPassOnWhatOneOfThemRead) {
    if (world_size() < 8) { GTEST_SKIP() << "among few, whoever read sends everything itself"; }
    auto all = networks(world_size());
    all.push_back({"three ranks a node", 3, TransportChoice::automatic});
    std::size_t waves = 0;
    for (auto const& network : all) {
        for (auto const& mesh : {Mesh{.dp = 8}, Mesh{.dp = 4, .tp = 2}}) {
            Way const way = {storages().front(), network, StrategyChoice::cooperative, 1ULL << 20U, mesh};
            SCOPED_TRACE(describe(way));
            auto context = make_job(way.network);
            auto const& model = model_on_disk(mesh, Casts::some);
            auto const plan = plan_for(model, way, context);
            auto load = start(plan, way, context);
            ASSERT_EQ(difference(load.wait(), plan, model), "");
            waves += plan.waves.size();
        }
    }
    EXPECT_GT(waves, 0U);
}

TEST(Engine, TensorsComeInPlanOrderEachComplete) {
    for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
        auto const way = plain_way(strategy);
        auto context = make_job(way.network);
        auto const& model = model_on_disk(context.size());
        auto const plan = plan_for(model, way, context);
        auto load = start(plan, way, context);
        for (auto const& planned : plan.tensors) {
            auto const tensor = load.next();
            ASSERT_TRUE(tensor.has_value());
            ASSERT_EQ(tensor->info->name, planned.name);
            ASSERT_EQ(reinterpret_cast<std::uintptr_t>(tensor->bytes.data()) % kStoreAlignment, 0U);
            auto const expected = model.expected(planned.name, context.rank());
            ASSERT_TRUE(std::ranges::equal(tensor->bytes, expected))
                << planned.name << " was handed out before it was complete";
        }
        EXPECT_FALSE(load.next().has_value());
        EXPECT_EQ(difference(load.wait(), plan, model), "");
    }
}

TEST(Engine, TensorsOutliveTheLoadAndTheStore) {
    auto const way = plain_way(StrategyChoice::cooperative);
    auto context = make_job(way.network);
    auto const& model = model_on_disk(context.size());
    std::optional<HeldTensor> kept;
    {
        auto const plan = plan_for(model, way, context);
        auto load = start(plan, way, context);
        auto const store = load.wait();
        kept = store.find("large.rows");
        EXPECT_FALSE(store.find("no.such.tensor").has_value());
    }
    ASSERT_TRUE(kept.has_value());
    EXPECT_TRUE(std::ranges::equal(kept->bytes, model.expected("large.rows", context.rank())));
}

TEST(Engine, ProgressGrowsUpToTheWhole) {
    auto const way = plain_way(StrategyChoice::cooperative);
    auto context = make_job(way.network);
    auto const plan = plan_for(model_on_disk(context.size()), way, context);
    std::vector<std::uint64_t> placed;
    LoadOptions options;
    options.on_progress = [&](Progress const& progress) {
        EXPECT_EQ(progress.total_bytes, held_bytes(plan));
        placed.push_back(progress.placed_bytes);
    };
    spawn_tp_materialize(plan, context, options).wait();
    ASSERT_FALSE(placed.empty());
    EXPECT_TRUE(std::ranges::is_sorted(placed));
    EXPECT_EQ(placed.back(), held_bytes(plan));
}

TEST(Engine, SeveralLoadsUseTheSameRanksOneAfterTheOther) {
    auto const way = plain_way(StrategyChoice::cooperative);
    auto context = make_job(way.network);
    auto const& model = model_on_disk(context.size());
    auto const plan = plan_for(model, way, context);
    std::vector<ParameterStore> stores;
    for (int i = 0; i < 3; ++i) { stores.push_back(start(plan, way, context).wait()); }
    for (auto const& store : stores) { EXPECT_EQ(difference(store, plan, model), ""); }
}

/// Counts what comes out of a reader, apart from what the reader says of itself.
class CountingReader final : public Reader {
   public:
    CountingReader(std::unique_ptr<Reader> inner, ReadCounters& seen) : inner_(std::move(inner)), seen_(seen) {}

    bool has_room() const noexcept override { return inner_->has_room(); }
    void submit(ReadRequest const& request) override {
        ++seen_.requests;
        inner_->submit(request);
    }
    void start() override { inner_->start(); }
    void poll(std::vector<ReadResult>& results, Wait wait) override {
        auto const before = results.size();
        inner_->poll(results, wait);
        for (auto i = before; i < results.size(); ++i) { seen_.bytes += results[i].data.size(); }
    }
    ReadCounters counters() const noexcept override { return inner_->counters(); }

   private:
    std::unique_ptr<Reader> inner_;
    ReadCounters& seen_;
};

TEST(Engine, ReportedReadsAreThoseThatWereMade) {
    for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
        auto const way = plain_way(strategy);
        auto context = make_job(way.network);
        auto const plan = plan_for(model_on_disk(context.size()), way, context);
        ReadCounters seen;
        auto load = start(plan, way, context, [&](ReaderSet& readers) {
            readers.replace(ReaderKind::pread, std::make_unique<CountingReader>(readers.take(ReaderKind::pread), seen));
        });
        load.wait();
        auto const& report = load.report();
        EXPECT_GT(seen.bytes, 0U);
        EXPECT_EQ(report.read_bytes, seen.bytes);
        EXPECT_EQ(report.requests, seen.requests);
        ASSERT_EQ(report.readers.size(), 1U);
        EXPECT_EQ(report.readers[0].reader, "pread");
        EXPECT_EQ(report.files.size(), plan.files.size());
        EXPECT_EQ(report.files[0].reason, "asked for");
    }
}

TEST(Engine, SettingUpDoesNotCountAsWaitingForStorage) {
    auto const way = plain_way(StrategyChoice::direct);
    auto context = make_job(way.network);
    auto const plan = plan_for(model_on_disk(context.size()), way, context);
    auto const slow = std::chrono::milliseconds(50);
    auto load = start(plan, way, context, [&](ReaderSet&) { std::this_thread::sleep_for(slow); });
    load.wait();
    EXPECT_GE(load.report().seconds.exchange, std::chrono::duration<double>(slow).count());
}

TEST(Engine, CooperativeReadsOfAllRanksAddUpToTheBytesNeeded) {
    auto const way = plain_way(StrategyChoice::cooperative);
    auto context = make_job(way.network);
    auto const& model = model_on_disk(context.size());
    auto load = start(plan_for(model, way, context), way, context);
    load.wait();
    auto const read = context.communicator().sum({load.report().read_bytes}).front();
    auto const needed = model.needed_bytes();
    EXPECT_GE(read, needed);
    EXPECT_LE(static_cast<double>(read), 1.02 * static_cast<double>(needed));
}

TEST(Engine, StagingStaysInTheBudgetWithManyLanesAndMixedReaders) {
    for (auto const strategy : {StrategyChoice::automatic, StrategyChoice::direct}) {
        Way way = {{"half cached", ReaderChoice::automatic, false, false},
                   {"automatic", 0, TransportChoice::automatic}};
        way.strategy = strategy;
        way.lanes = 16;
        auto context = make_job(way.network);
        auto const& model = model_on_disk(context.size());
        std::vector<FileFacts> facts(model.files().size());
        facts[1].cached_fraction = 1;
        auto const plan = plan_for(model, way, context, facts);
        auto load = start(plan, way, context);
        EXPECT_EQ(difference(load.wait(), plan, model), "");
        EXPECT_LE(load.report().staging_bytes, way.staging_bytes);
        EXPECT_LT(load.report().lanes * plan.direct_buffer_bytes, plan.direct_bytes)
            << "each lane may need room for a request of its own";
    }
}

}  // namespace
}  // namespace shardwise::test
