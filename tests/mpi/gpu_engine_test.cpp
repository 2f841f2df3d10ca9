// Loads into the memory of GPUs: an emulated one a rank, so that everything but the kernels' hardware runs here, and a
// real one where there is one. The laws are those of loads into the host's memory.
#include <atomic>
#include <cstdio>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <shardwise/verify.hpp>

#include "exec/choose_device.hpp"
#include "exec/parameter_store.hpp"
#include "support/emulated_accelerator.hpp"
#include "support/faulty_reader.hpp"
#include "support/loaded.hpp"
#include "util/checked.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using MakeGpu = std::function<std::shared_ptr<Accelerator>(Communicator&)>;

std::shared_ptr<Accelerator> emulated_gpu(Communicator& communicator) {
    return make_emulated_accelerator({.uuid = fmt::format("GPU-emulated-{}", communicator.rank())});
}

std::shared_ptr<Accelerator> real_gpu(Communicator& communicator) { return open_own_gpu(std::nullopt, communicator); }

/// The GPUs there are.
std::vector<std::pair<std::string, MakeGpu>> gpus() {
    std::vector<std::pair<std::string, MakeGpu>> result = {{"emulated", &emulated_gpu}};
    auto const visible = visible_gpus();
    if (visible.count > 0) {
        result.emplace_back("real", &real_gpu);
    } else {
        std::printf("left out: real GPUs (%s)\n", visible.obstacle.c_str());
    }
    return result;
}

Way on_gpu(Way way, MakeGpu const& make_gpu) {
    way.device = Device::cuda;
    way.backend = [make_gpu](Communicator& communicator) {
        return make_gpu_backend(communicator, make_gpu(communicator));
    };
    return way;
}

/// What can be asked for on a GPU; automatic finds no GPUDirect Storage where there is no cuFile.
std::vector<Storage> gpu_storages() {
    std::vector<Storage> result;
    for (auto const& storage : storages()) {
        if (storage.choice != ReaderChoice::mmap) { result.push_back(storage); }
    }
    return result;
}

std::vector<Network> gpu_networks(int ranks) {
    if (ranks == 1) { return {{"alone", 0, TransportChoice::automatic}}; }
    return {{"automatic", 0, TransportChoice::automatic}, {"messages", 1, TransportChoice::mpi}};
}

int world_size() {
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
}

/// Every combination for one rank; one out of so many for more, so that each choice still meets each.
std::vector<Way> ways(MakeGpu const& make_gpu) {
    std::vector<Way> all;
    for (auto const& storage : gpu_storages()) {
        for (auto const& network : gpu_networks(world_size())) {
            for (auto const strategy :
                 {StrategyChoice::automatic, StrategyChoice::direct, StrategyChoice::cooperative}) {
                for (auto const staging : {1ULL << 20U, 16ULL << 20U}) {
                    for (auto const& mesh : meshes(world_size())) {
                        all.push_back(on_gpu({storage, network, strategy, staging, mesh}, make_gpu));
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

void expect_counted(LoadReport const& report, Plan const& plan, Way const& way) {
    EXPECT_EQ(report.exchanged_bytes, plan.totals.received_bytes);
    EXPECT_LE(report.staging_bytes, way.staging_bytes);
    EXPECT_LE(report.staging_bytes, plan.totals.staging_bytes) << "more than was promised";
    EXPECT_LE(report.device_staging_bytes, way.staging_bytes);
    EXPECT_LE(report.device_staging_bytes, plan.totals.device_staging_bytes) << "more than was promised";
    EXPECT_GE(report.device_peak_bytes, plan.store_bytes);
    EXPECT_GE(report.read_bytes, plan.totals.read_bytes);
    EXPECT_THAT(report.device, HasSubstr("GPU"));
    EXPECT_NEAR(report.seconds.read + report.seconds.exchange + report.seconds.place, report.seconds.total, 1e-6);
}

TEST(GpuEngine, AnyWayOfLoadingGivesTheCutOfTheConvertedWhole) {
    int waves = 0;
    for (auto const& [name, make_gpu] : gpus()) {
        for (auto const& way : ways(make_gpu)) {
            SCOPED_TRACE(fmt::format("{} GPU, {}", name, describe(way)));
            auto context = make_job(way.network);
            auto const& model = model_on_disk(mesh_of(way, context.size()), Casts::some);
            auto const plan = plan_for(model, way, context);
            auto load = start(plan, way, context);
            auto const store = load.wait();
            EXPECT_EQ(store.device(), Device::cuda);
            ASSERT_EQ(difference(store, plan, model), "");
            expect_counted(load.report(), plan, way);
            ASSERT_FALSE(::testing::Test::HasFailure());
            waves += plan.waves.size() > 3 ? 1 : 0;
        }
    }
    if (world_size() > 1) { EXPECT_GT(waves, 0) << "no load had more waves than slots"; }
}

Way plain_way(StrategyChoice strategy, MakeGpu const& make_gpu = &emulated_gpu) {
    Way way = {{"pread", ReaderChoice::pread, false, false}, {"messages", 0, TransportChoice::mpi}};
    way.strategy = strategy;
    return on_gpu(way, make_gpu);
}

TEST(GpuEngine, TensorsComeInPlanOrderEachComplete) {
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
            // The host can look into an emulated GPU.
            ASSERT_TRUE(std::ranges::equal(tensor->bytes, model.expected(planned.name, context.rank())))
                << planned.name << " was handed out before it was complete";
        }
        EXPECT_FALSE(load.next().has_value());
    }
}

TEST(GpuEngine, EachTensorCanHaveMemoryOfItsOwn) {
    for (auto const& [name, make_gpu] : gpus()) {
        for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
            auto way = plain_way(strategy, make_gpu);
            way.allocation = Allocation::tensors;
            auto context = make_job(way.network);
            auto const& model = model_on_disk(context.size());
            auto const plan = plan_for(model, way, context);
            auto load = start(plan, way, context);
            auto const store = load.wait();
            EXPECT_EQ(difference(store, plan, model), "");
            ASSERT_EQ(store.data()->memory.size(), plan.tensors.size());
            for (std::size_t i = 0; i < store.size(); ++i) {
                EXPECT_EQ(reinterpret_cast<std::uintptr_t>(store[i].bytes.data()) % kStoreAlignment, 0U);
                EXPECT_EQ(store[i].bytes.data(), store.data()->memory[i].bytes().data());
            }
        }
    }
}

/// An error as ranks compare it.
struct Ending {
    Errc code = Errc::usage;
    int rank = -1;
    std::string text;
};

/// Runs a load that must fail, and checks that all ranks end alike.
Ending ending_of(Way const& way) {
    auto context = make_job(way.network);
    auto const& model = model_on_disk(context.size());
    auto const plan = plan_for(model, way, context);
    Ending ending;
    try {
        start(plan, way, context).wait();
        ending.text = "no error";
    } catch (Error const& error) { ending = {error.code(), error.rank(), error.what()}; }
    auto const own = fmt::format("{}|{}|{}", static_cast<int>(ending.code), ending.rank, ending.text);
    for (auto const& other : gather_texts(context.communicator(), own)) {
        EXPECT_EQ(other, own) << "ranks ended differently";
    }
    // The same ranks can load again.
    auto const sound = plain_way(way.strategy);
    auto load = start(plan_for(model, sound, context), sound, context);
    EXPECT_EQ(difference(load.wait(), plan, model), "") << "the load after the failed one";
    return ending;
}

TEST(GpuEngine, AGpuThatFailsOnOneRankEndsAllWithItsError) {
    auto const failing = world_size() - 1;
    for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
        for (auto const works : {0, 1, 5, 12}) {
            SCOPED_TRACE(fmt::format("after {} pieces of work", works));
            auto const ending = ending_of(plain_way(strategy, [&](Communicator& communicator) {
                EmulatedGpu gpu = {.uuid = fmt::format("GPU-emulated-{}", communicator.rank())};
                if (communicator.rank() == failing) {
                    gpu.work_left = std::make_shared<std::atomic<std::int64_t>>(works);
                }
                return std::shared_ptr<Accelerator>(make_emulated_accelerator(gpu));
            }));
            EXPECT_EQ(ending.code, Errc::io);
            EXPECT_EQ(ending.rank, failing);
            EXPECT_THAT(ending.text, HasSubstr("launch failure"));
        }
    }
}

TEST(GpuEngine, AGpuWithoutRoomIsFoundOutBeforeAnythingIsRead) {
    auto const ending = ending_of(plain_way(StrategyChoice::direct, [](Communicator& communicator) {
        EmulatedGpu const gpu = {.uuid = fmt::format("GPU-emulated-{}", communicator.rank()), .memory_bytes = 1 << 16};
        return std::shared_ptr<Accelerator>(make_emulated_accelerator(gpu));
    }));
    EXPECT_EQ(ending.code, Errc::memory);
    EXPECT_THAT(ending.text, AllOf(HasSubstr("1 rank(s) of GPU emulated"), HasSubstr("64.0 KiB are available")));
}

TEST(GpuEngine, RanksThatShareAGpuShareItsMemory) {
    if (world_size() == 1) { GTEST_SKIP() << "one rank shares nothing"; }
    auto const way = plain_way(StrategyChoice::direct);
    auto context = make_job(way.network);
    auto const plan = plan_for(model_on_disk(context.size()), way, context);
    auto const room = context.communicator()
                          .sum({align_up(plan.store_bytes, kSharedPage) + plan.totals.device_staging_bytes})
                          .front();
    for (auto const is_enough : {true, false}) {
        auto const shared = plain_way(StrategyChoice::direct, [&](Communicator&) {
            return std::shared_ptr<Accelerator>(
                make_emulated_accelerator({.uuid = "GPU-shared", .memory_bytes = room - (is_enough ? 0 : 1)}));
        });
        if (is_enough) {
            EXPECT_EQ(difference(start(plan, shared, context).wait(), plan, model_on_disk(context.size())), "");
            continue;
        }
        auto const ending = ending_of(shared);
        EXPECT_EQ(ending.code, Errc::memory);
        EXPECT_THAT(ending.text, HasSubstr(fmt::format("{} rank(s) of GPU emulated", world_size())));
    }
}

TEST(GpuEngine, AReadThatFailsEndsAllRanks) {
    for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
        auto const way = plain_way(strategy);
        auto context = make_job(way.network);
        auto const plan = plan_for(model_on_disk(context.size()), way, context);
        bool const is_mine = context.rank() == 0;
        auto const hook = [&](ReaderSet& readers) {
            if (!is_mine) { return; }
            readers.replace(ReaderKind::pread, std::make_unique<FaultyReader>(readers.take(ReaderKind::pread),
                                                                              plan.files, 1));
        };
        try {
            start(plan, way, context, hook).wait();
            ADD_FAILURE() << "no error";
        } catch (Error const& error) {
            EXPECT_EQ(error.code(), Errc::io);
            EXPECT_EQ(error.rank(), 0);
        }
    }
}

PlanOptions gpu_options() {
    auto options = options_for({.tp = world_size()});
    options.device = Device::cuda;
    return options;
}

void verify(Loaded const& loaded, Context& context) {
    verify_load(loaded.store, loaded.plan, *loaded.catalog, *loaded.architecture, loaded.options, context);
}

TEST(GpuEngine, WhatAGpuHoldsIsVerifiedThere) {
    for (auto const& [name, make_gpu] : gpus()) {
        auto context = make_job({"automatic", 0, TransportChoice::automatic});
        for (auto const& [model, make] : kModels) {
            SCOPED_TRACE(fmt::format("{} on {} GPUs", model, name));
            Loaded const loaded(context, make, gpu_options(), on_gpu({}, make_gpu).backend);
            EXPECT_EQ(difference(loaded.store, loaded.plan, loaded.model), "");
            EXPECT_NO_THROW(verify(loaded, context));
        }
    }
}

TEST(GpuEngine, AChangedByteInAGpuIsNoticed) {
    auto context = make_job({"automatic", 0, TransportChoice::automatic});
    Loaded const loaded(context, small_llama, gpu_options(), on_gpu({}, &emulated_gpu).backend);
    auto const victim = *loaded.store.find("model.layers.0.self_attn.o_proj.weight");
    if (context.rank() == context.size() - 1) { victim.bytes[victim.bytes.size() / 2] ^= std::byte{0x10}; }
    try {
        verify(loaded, context);
        ADD_FAILURE() << "a changed byte was not noticed";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::io);
        EXPECT_THAT(error.what(), HasSubstr("model.layers.0.self_attn.o_proj.weight"));
    }
}

TEST(GpuEngine, SaysWhatItCannotDo) {
    if (world_size() == 1) { GTEST_SKIP() << "one rank has no transport"; }
    for (auto const& [choice, fragment] :
         {std::pair(TransportChoice::shm, "--transport shm"), std::pair(TransportChoice::nccl, "--transport nccl")}) {
        auto way = plain_way(StrategyChoice::cooperative, [](Communicator&) {
            return std::shared_ptr<Accelerator>(make_emulated_accelerator({.uuid = "GPU-shared"}));
        });
        way.network.choice = choice;
        auto const ending = ending_of(way);
        EXPECT_EQ(ending.code, Errc::unavailable);
        EXPECT_THAT(ending.text, HasSubstr(fragment));
    }
}

}  // namespace
}  // namespace shardwise::test
