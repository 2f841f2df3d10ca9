// What a plan promises about memory, balance and order; catalogs of real sizes, of which no byte exists.
#include <algorithm>
#include <numeric>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "support/planning.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint64_t kMiB = 1ULL << 20U;

/// A model of the right shapes in one file, without bytes.
struct Outline {
    Catalog catalog;
    Parameters parameters;
};

Outline outline(std::int64_t hidden, int layers, std::int64_t tp) {
    Catalog::Parts parts;
    std::uint64_t next = 1001;
    auto const add = [&](std::string name, Shape const& shape) {
        TensorRecord tensor{
            std::move(name), DType::bf16, shape, 0, next, static_cast<std::uint64_t>(shape.num_elements()) * 2};
        next += tensor.size_bytes;
        parts.tensors.push_back(std::move(tensor));
    };
    add("embedding", {32 * hidden, hidden});
    for (int i = 0; i < layers; ++i) {
        add(fmt::format("layer.{}.columns", i), {4 * hidden, hidden});
        add(fmt::format("layer.{}.norm", i), {hidden});
        add(fmt::format("layer.{}.rows", i), {hidden, 4 * hidden});
    }
    parts.files.push_back({"outline.safetensors", next, 1001});
    Outline result{Catalog(std::move(parts)), {}};
    for (std::uint32_t i = 0; i < result.catalog.tensors().size(); ++i) {
        auto const& tensor = result.catalog.tensors()[i];
        Placement placement;
        if (tensor.name.ends_with("columns")) { placement = cut_along(tensor.shape, 0, tp); }
        if (tensor.name.ends_with("rows")) { placement = cut_along(tensor.shape, 1, tp); }
        result.parameters.list.push_back({tensor.name, {}, stored(i, tensor), placement});
    }
    return result;
}

Plan plan_one(Outline const& model, PlanOptions const& options, std::int64_t rank) {
    return plan_parameters(model.catalog, model.parameters, options, rank);
}

/// The most memory a rank needs for what is under way: its slots, the outboxes of its node, the pieces of the waves
/// under exchange in and out, and the buffers of direct reads.
std::uint64_t staging_of(Plan const& plan) {
    std::uint64_t messages = 0;
    for (auto const& wave : plan.waves) {
        std::uint64_t in_wave = 0;
        for (auto const& delivery : wave.receives) { in_wave += delivery.bytes; }
        for (auto const& delivery : wave.sends) { in_wave += delivery.bytes; }
        messages = std::max(messages, in_wave);
    }
    auto const slots = plan.slot_count * plan.slot_bytes;
    auto const outboxes = slots * plan.seats;
    return slots + outboxes + plan.exchanges_at_once * messages + (plan.direct.empty() ? 0 : plan.direct_bytes);
}

TEST(PlanBounds, StagingStaysWithinTheBudget) {
    for (auto const& mesh :
         {Mesh{}, Mesh{.tp = 3}, Mesh{.dp = 2, .tp = 4}, Mesh{.tp = 16}, Mesh{.pp = 3, .fsdp = 2, .tp = 2}}) {
        auto model = outline(256, 3, mesh.tp);
        // Stages read apart from each other, with fewer ranks to a wave.
        for (std::size_t t = 0; mesh.pp > 1 && t < model.parameters.list.size(); ++t) {
            model.parameters.list[t].placement.stages = {static_cast<std::int64_t>(t) % mesh.pp};
        }
        for (auto const strategy : {StrategyChoice::automatic, StrategyChoice::direct, StrategyChoice::cooperative}) {
            for (auto const staging : {1 * kMiB + 1, 5 * kMiB, 64 * kMiB, 1024 * kMiB}) {
                SCOPED_TRACE(
                    fmt::format("{}, strategy {}, staging {}", to_string(mesh), static_cast<int>(strategy), staging));
                for (auto const rank : {std::int64_t{0}, mesh.world() - 1}) {
                    auto const plan = plan_one(model, options_for(mesh, strategy, staging), rank);
                    EXPECT_LE(staging_of(plan), staging);
                    EXPECT_LE(staging_of(plan), plan.totals.staging_bytes);
                    EXPECT_LE(plan.totals.staging_bytes, staging);
                }
            }
        }
    }
}

TEST(PlanBounds, ABudgetThatCannotWorkIsRefusedWithItsFlagAndTheLeast) {
    auto const model = outline(64, 1, 2);
    try {
        plan_one(model, options_for({.tp = 2}, StrategyChoice::automatic, 100'000), 0);
        FAIL() << "a staging budget of 100 kB was taken";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::memory);
        EXPECT_THAT(error.what(), AllOf(HasSubstr("--staging"), HasSubstr("97.7 KiB"), HasSubstr("1.00 MiB")));
    }
}

TEST(PlanBounds, TheLeastBudgetOfAnyWorldIsEnough) {
    // Each stage reads in every wave, at least two pages a reader; other ranks take turns.
    for (auto const& [mesh, least] :
         {std::pair(Mesh{}, kMiB), std::pair(Mesh{.tp = 17}, kMiB), std::pair(Mesh{.dp = 512, .tp = 8}, kMiB),
          std::pair(Mesh{.pp = 40}, 20 * 40 * 4096UL)}) {
        auto const model = outline(64, 1, mesh.tp);
        EXPECT_NO_THROW(plan_one(model, options_for(mesh, StrategyChoice::cooperative, least), 0)) << to_string(mesh);
        EXPECT_THROW(plan_one(model, options_for(mesh, StrategyChoice::cooperative, least - 1), 0), Error)
            << to_string(mesh);
    }
}

TEST(PlanBounds, WhatARankHasToKnowDoesNotGrowWithTheWorld) {
    auto const model = outline(1024, 12, 4);
    auto const size_of = [&](std::int64_t dp, std::int64_t pp) {
        auto const options = options_for({.pp = pp, .dp = dp, .tp = 4}, StrategyChoice::cooperative, 32 * kMiB);
        auto const plan = plan_one(model, options, 1);
        std::size_t size = plan.waves.size();
        for (auto const& wave : plan.waves) {
            size += wave.reads.size() + wave.receives.size() + wave.sends.size() + wave.blocks.size();
        }
        return size;
    };
    auto const small = size_of(4, 1);
    EXPECT_GT(small, 300U);
    EXPECT_LE(size_of(64, 1), small);
    EXPECT_LE(size_of(1024, 1), small);
    EXPECT_LE(size_of(16, 4), small);
}

TEST(PlanBounds, RanksOfALargeWorldTakeTurnsAndReadEquallyMuch) {
    Mesh const mesh = {.dp = 5, .tp = 7};
    auto const model = outline(1792, 12, mesh.tp);
    std::vector<std::uint64_t> bytes;
    std::vector<std::set<std::uint32_t>> seats;
    for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
        auto const plan = plan_one(model, options_for(mesh, StrategyChoice::cooperative, 4 * kMiB), rank);
        bytes.push_back(0);
        seats.resize(plan.waves.size());
        EXPECT_LT(plan.seats, 35U);
        for (std::size_t wave = 0; wave < plan.waves.size(); ++wave) {
            for (auto const& read : plan.waves[wave].reads) { bytes.back() += read.range.size_bytes; }
            if (plan.waves[wave].reads.empty()) { continue; }
            EXPECT_LT(plan.waves[wave].seat, plan.seats);
            EXPECT_TRUE(seats[wave].insert(plan.waves[wave].seat).second) << "two ranks in one seat, wave " << wave;
        }
    }
    EXPECT_EQ(std::accumulate(bytes.begin(), bytes.end(), std::uint64_t{0}), model.catalog.tensor_bytes());
    auto const mean = model.catalog.tensor_bytes() / bytes.size();
    EXPECT_LE(*std::max_element(bytes.begin(), bytes.end()), mean + mean / 20);
    EXPECT_GE(*std::min_element(bytes.begin(), bytes.end()), mean - mean / 20);
}

TEST(PlanBounds, SmallTensorsOfALayerAreReadAsTheyLieInTheirFile) {
    // Two layers of 64 tensors of 4 KiB, in the file the second layer first and every one of them backwards.
    Catalog::Parts parts;
    std::uint64_t next = 4096;
    for (int const layer : {1, 0}) {
        for (int number = 63; number >= 0; --number) {
            parts.tensors.push_back({fmt::format("layers.{}.part{}", layer, number), DType::u8, {4096}, 0, next, 4096});
            next += 4096;
        }
    }
    parts.files.push_back({"backwards.safetensors", next, 4096});
    Outline model{Catalog(std::move(parts)), {}};
    for (std::uint32_t i = 0; i < model.catalog.tensors().size(); ++i) {
        auto const& tensor = model.catalog.tensors()[i];
        model.parameters.list.push_back({tensor.name, {}, stored(i, tensor), {}});
    }
    auto const direct = plan_one(model, options_for({}, StrategyChoice::direct, 16 * kMiB), 0);
    ASSERT_EQ(direct.direct.size(), 2U) << "a request a layer";
    EXPECT_EQ(direct.direct[0].range, (FileRange{0, 4096 + 64 * 4096, 64 * 4096})) << "layer 0 comes first";
    EXPECT_EQ(direct.direct[1].range, (FileRange{0, 4096, 64 * 4096}));

    auto const shared = plan_one(model, options_for({.dp = 2}, StrategyChoice::cooperative, 16 * kMiB), 0);
    EXPECT_LE(shared.totals.requests, 4U);
    EXPECT_EQ(shared.totals.over_read_bytes, 0U);
}

/// Files that the plan reads anything of.
std::set<std::uint32_t> files_read(Plan const& plan) {
    std::set<std::uint32_t> files;
    for (auto const& read : plan.direct) { files.insert(read.range.file); }
    for (auto const& wave : plan.waves) {
        for (auto const& read : wave.reads) { files.insert(read.range.file); }
    }
    return files;
}

TEST(PlanBounds, AStageReadsNothingOfAnotherStagesLayers) {
    // Layer 0 lies in file 0 and is of stage 0, layer 1 in file 1 and of stage 1, embedding and head in file 2.
    Mesh const mesh = {.pp = 2, .tp = 2};
    auto const model = small_llama("model", mesh);
    for (auto const strategy : {StrategyChoice::automatic, StrategyChoice::direct, StrategyChoice::cooperative}) {
        auto const plans = plan_all(model, options_for(mesh, strategy, kMiB));
        std::vector<std::set<std::uint32_t>> files(2);
        for (auto const& plan : plans) { files[static_cast<std::size_t>(plan.rank / 2)].merge(files_read(plan)); }
        EXPECT_THAT(files[0], ElementsAre(0, 2));
        EXPECT_THAT(files[1], ElementsAre(1, 2));
    }
}

TEST(PlanBounds, StagesGoThroughTheirWavesAtTheSameTime) {
    auto model = outline(512, 8, 1);
    std::erase_if(model.parameters.list, [](Parameter const& p) { return p.name == "embedding"; });
    auto const waves_with = [&](Mesh const& mesh) {
        for (std::size_t t = 0; t < model.parameters.list.size(); ++t) {
            auto const layer = static_cast<std::int64_t>(t) / 3;
            model.parameters.list[t].placement.stages =
                mesh.pp > 1 ? std::vector<std::int64_t>{layer / 2} : std::vector<std::int64_t>{};
        }
        auto const staging = 16 * kMiB;
        return plan_one(model, options_for(mesh, StrategyChoice::cooperative, staging), 0).waves.size();
    };
    auto const together = waves_with({.dp = 4});
    EXPECT_GE(together, 16U);
    // A stage has a quarter of the bytes, and a quarter of the ranks, so of the staging, to read them.
    EXPECT_LE(waves_with({.pp = 4}), together + 1);
}

TEST(PlanBounds, RanksReadEquallyMuchTogether) {
    Mesh const mesh = {.tp = 8};
    auto const model = outline(1024, 6, mesh.tp);
    std::vector<std::uint64_t> bytes;
    for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
        auto const plan = plan_one(model, options_for(mesh, StrategyChoice::cooperative, 64 * kMiB), rank);
        bytes.push_back(0);
        for (auto const& wave : plan.waves) {
            for (auto const& read : wave.reads) { bytes.back() += read.range.size_bytes; }
        }
    }
    EXPECT_EQ(std::accumulate(bytes.begin(), bytes.end(), std::uint64_t{0}), model.catalog.tensor_bytes());
    auto const mean = model.catalog.tensor_bytes() / bytes.size();
    EXPECT_LE(*std::max_element(bytes.begin(), bytes.end()), mean + mean / 50);
    EXPECT_GE(*std::min_element(bytes.begin(), bytes.end()), mean - mean / 50);
}

TEST(PlanBounds, LargeTensorsThatEveryRankNeedsAreBroadcast) {
    for (auto const& mesh : {Mesh{.tp = 4}, Mesh{.dp = 2, .tp = 2}, Mesh{.pp = 2, .tp = 2}, Mesh{.dp = 4}}) {
        SCOPED_TRACE(to_string(mesh));
        auto const model = outline(512, 2, mesh.tp);
        auto const plan = plan_one(model, options_for(mesh, StrategyChoice::cooperative, 16 * kMiB), 1);
        std::set<std::string> broadcast;
        std::set<std::string> exchanged;
        for (auto const& wave : plan.waves) {
            EXPECT_TRUE(!wave.is_shared || wave.sends.empty());
            for (auto const& receive : wave.receives) {
                for (auto const& block : wave.blocks_of(receive)) {
                    auto const& name = plan.tensors[block.tensor].name;
                    (wave.is_shared ? broadcast : exchanged).insert(name);
                }
            }
        }
        if (mesh.tp > 1) {
            EXPECT_THAT(broadcast, ElementsAre("embedding"));
            EXPECT_EQ(exchanged.size(), 6U);
        } else {
            EXPECT_EQ(broadcast.size(), 7U);
            EXPECT_TRUE(exchanged.empty());
        }
    }
}

TEST(PlanBounds, EveryWaveFallsIntoEqualStripes) {
    Mesh const mesh = {.tp = 4};
    auto const model = outline(512, 2, mesh.tp);
    std::vector<Plan> plans;
    for (std::int64_t rank = 0; rank < 4; ++rank) {
        plans.push_back(plan_one(model, options_for(mesh, StrategyChoice::cooperative, 16 * kMiB), rank));
    }
    ASSERT_GT(plans[0].waves.size(), 3U);
    for (std::size_t wave = 0; wave + 1 < plans[0].waves.size(); ++wave) {
        // The last one of its kind is what is left.
        if (plans[0].waves[wave].is_shared != plans[0].waves[wave + 1].is_shared) { continue; }
        std::vector<std::uint64_t> bytes;
        for (auto const& plan : plans) {
            bytes.push_back(0);
            for (auto const& read : plan.waves[wave].reads) { bytes.back() += read.range.size_bytes; }
        }
        auto const [least, most] = std::minmax_element(bytes.begin(), bytes.end());
        EXPECT_LE(*most - *least, 2 * kSlotAlignment) << "wave " << wave;
    }
}

TEST(PlanBounds, AutomaticReadsCachedFilesDirectlyAndInnerCutsOfColdOnesTogether) {
    auto const model = outline(1024, 1, 4);
    auto const options = options_for({.tp = 4}, StrategyChoice::automatic, 64 * kMiB);
    auto const cold = plan_parameters(model.catalog, model.parameters, options, 0);
    EXPECT_GE(cold.strategy_bytes.cooperative, 8 * kMiB) << "the inner cut would be read four times over";
    EXPECT_GE(cold.strategy_bytes.shared, 64 * kMiB) << "the embedding would be read four times over";

    std::vector<FileFacts> facts(1);
    facts[0].cached_fraction = 1;
    auto const cached = plan_parameters(model.catalog, model.parameters, options, 0, facts);
    EXPECT_EQ(cached.strategy_bytes.direct, model.catalog.tensor_bytes());
    EXPECT_TRUE(cached.waves.empty());
}

TEST(PlanBounds, TensorsComeByPriorityThenByName) {
    auto const model = outline(64, 2, 2);
    auto options = options_for({.tp = 2}, StrategyChoice::automatic, kMiB);
    options.priority = {"layer.1.*", "*norm"};
    std::vector<std::string> names;
    for (auto const& tensor : plan_one(model, options, 1).tensors) { names.push_back(tensor.name); }
    EXPECT_THAT(names, ElementsAre("layer.1.columns", "layer.1.norm", "layer.1.rows", "layer.0.norm", "embedding",
                                   "layer.0.columns", "layer.0.rows"));
}

TEST(PlanBounds, TensorsLieApartInTheStoreEachAligned) {
    auto const model = mixed_model("model", 3, {.tp = 3}, 40);
    for (auto const& plan : plan_all(model, options_for({.tp = 3}, StrategyChoice::automatic, kMiB))) {
        std::uint64_t end = 0;
        for (auto const& tensor : plan.tensors) {
            EXPECT_EQ(tensor.store_offset % kStoreAlignment, 0U);
            EXPECT_GE(tensor.store_offset, end);
            end = tensor.store_offset + tensor.size_bytes;
        }
        EXPECT_LE(end, plan.store_bytes);
    }
}

/// One tensor cut along its inner dimension.
Outline single(DType dtype, Shape const& shape, std::int64_t tp) {
    Catalog::Parts parts;
    auto const bytes = static_cast<std::uint64_t>(shape.num_elements() * bits(dtype) / 8);
    parts.files = {{"single.safetensors", 64 + bytes, 64}};
    parts.tensors = {{"weight", dtype, shape, 0, 64, bytes}};
    Outline result{Catalog(std::move(parts)), {}};
    result.parameters.list.push_back({"weight", {}, stored(0, result.catalog.tensors()[0]), cut_along(shape, 1, tp)});
    return result;
}

TEST(PlanBounds, CachedFilesAreReadRunByRunWhereGapsCostMore) {
    struct Case {
        Shape shape;
        std::int64_t tp;
        std::uint64_t requests;
        std::uint64_t over_read;
    };
    std::vector<FileFacts> const cached = {{1.0, false, false, "test"}};
    for (auto const& [shape, tp, requests, over_read] : {
             Case{{64, 65536}, 2, 64, 0},          // runs of 32 KiB
             Case{{4, 65536}, 8, 4, 0},            // runs of 8 KiB, gaps of 56 KiB
             Case{{64, 1024}, 2, 1, 63 * 512},     // runs of 512 B: one read over all gaps
             Case{{1, 65536}, 4, 1, 0},            // contiguous
         }) {
        auto const outline = single(DType::u8, shape, tp);
        auto const plan = plan_parameters(outline.catalog, outline.parameters,
                                          options_for({.tp = tp}, StrategyChoice::direct, 16 * kMiB), 0, cached);
        EXPECT_EQ(plan.totals.requests, requests) << to_string(shape);
        EXPECT_EQ(plan.totals.over_read_bytes, over_read) << to_string(shape);
        EXPECT_EQ(plan.totals.read_bytes, plan.totals.needed_bytes + over_read) << to_string(shape);
    }
}

TEST(PlanBounds, CachedTensorsInShortRunsAreExchangedOnceTheirGapsMultiply) {
    std::vector<FileFacts> const cached = {{1.0, false, false, "test"}};
    for (auto const& [tp, is_direct] : {std::pair(2, true), std::pair(4, true), std::pair(16, false)}) {
        auto const outline = single(DType::u8, {256, 1024}, tp);
        auto const options = options_for({.tp = tp}, StrategyChoice::automatic, 16 * kMiB);
        auto const plan = plan_parameters(outline.catalog, outline.parameters, options, 0, cached);
        EXPECT_EQ(plan.strategy_bytes.direct > 0, is_direct) << tp;
        EXPECT_EQ(plan.strategy_bytes.cooperative > 0, !is_direct) << tp;
    }
}

TEST(PlanBounds, TypesBelowAByteAreCutAsTheirBytesAre) {
    for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
        for (std::int64_t rank = 0; rank < 2; ++rank) {
            auto const packed = plan_one(single(DType::f4, {6, 40}, 2), options_for({.tp = 2}, strategy, kMiB), rank);
            auto const bytes = plan_one(single(DType::u8, {6, 20}, 2), options_for({.tp = 2}, strategy, kMiB), rank);
            EXPECT_EQ(packed.tensors[0].size_bytes, 60U);
            EXPECT_EQ(packed.direct_blocks, bytes.direct_blocks);
            ASSERT_EQ(packed.waves.size(), bytes.waves.size());
            for (std::size_t i = 0; i < packed.waves.size(); ++i) {
                EXPECT_EQ(packed.waves[i].blocks, bytes.waves[i].blocks);
            }
            EXPECT_EQ(packed.totals.read_bytes, bytes.totals.read_bytes);
        }
    }
}

TEST(PlanBounds, ACutInsideAByteIsRefusedWithTheTensorsName) {
    try {
        plan_one(single(DType::f4, {6, 10}, 2), options_for({.tp = 2}, StrategyChoice::automatic, kMiB), 0);
        FAIL() << "rows of 5 half-bytes were cut off";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::input);
        EXPECT_THAT(error.what(), AllOf(HasSubstr("weight"), HasSubstr("F4")));
    }
}

TEST(PlanBounds, TotalsAreTheSumsOverReadsAndDeliveries) {
    auto const model = mixed_model("model", 9, {.dp = 2, .tp = 2}, 30, Casts::none);
    for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
        auto const plans = plan_all(model, options_for({.dp = 2, .tp = 2}, strategy, kMiB));
        for (auto const& plan : plans) {
            std::uint64_t read = 0;
            std::uint64_t requests = plan.direct.size();
            std::uint64_t received = 0;
            std::uint64_t messages = 0;
            std::uint64_t stored = 0;
            for (auto const& direct : plan.direct) { read += direct.range.size_bytes; }
            for (auto const& wave : plan.waves) {
                requests += wave.reads.size();
                for (auto const& staged : wave.reads) { read += staged.range.size_bytes; }
                for (auto const& delivery : wave.receives) {
                    received += delivery.peer == plan.rank ? 0 : delivery.bytes;
                    messages += delivery.peer == plan.rank ? 0 : 1;
                }
            }
            for (auto const& tensor : model.parameters().list) {
                stored += model.expected(tensor.name, plan.rank).size();
            }
            EXPECT_EQ(plan.totals.read_bytes, read);
            EXPECT_EQ(plan.totals.requests, requests);
            EXPECT_EQ(plan.totals.received_bytes, received);
            EXPECT_EQ(plan.totals.messages, messages);
            EXPECT_EQ(plan.totals.needed_bytes, stored);
            EXPECT_LE(plan.totals.over_read_bytes, read);
            if (strategy == StrategyChoice::direct) { EXPECT_EQ(read - plan.totals.over_read_bytes, stored); }
        }
    }
}

}  // namespace
}  // namespace shardwise::test
