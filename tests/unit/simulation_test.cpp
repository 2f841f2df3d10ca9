// Predicted loads: bytes against what the plans of all ranks say one by one, seconds against sums done by hand.
#include "plan/simulation.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "support/planning.hpp"

namespace shardwise::test {
namespace {

constexpr std::uint64_t kMiB = 1ULL << 20U;

SimulatedLoad simulated(TestModel const& model, PlanOptions const& options, MachineProfile const& profile,
                        std::int64_t ranks_per_node, std::span<FileFacts const> facts = {}) {
    Simulation simulation(profile, ranks_per_node);
    auto const& mesh = options.mesh;
    for (auto const& plan : plan_all(model, options, facts)) {
        if (mesh.leader(plan.rank) == plan.rank) { simulation.add(plan); }
    }
    return simulation.result();
}

TEST(Simulation, NodesReceiveWhatTheirRanksTakeFromOtherNodes) {
    for (auto const& mesh :
         {Mesh{.tp = 4}, Mesh{.dp = 3, .tp = 2}, Mesh{.dp = 12}, Mesh{.dp = 9, .tp = 2}, Mesh{.pp = 2, .dp = 6}}) {
        SCOPED_TRACE(to_string(mesh));
        auto const model = small_llama("model", mesh);
        auto const options = options_for(mesh, StrategyChoice::cooperative, kMiB);
        auto const load = simulated(model, options, {}, 1);
        ASSERT_EQ(load.played_waves, load.waves);
        std::uint64_t most = 0;
        std::uint64_t read = 0;
        for (auto const& plan : plan_all(model, options)) {
            std::uint64_t received = 0;
            for (auto const& wave : plan.waves) {
                for (auto const& receive : wave.receives) {
                    received += receive.peer == plan.rank ? 0 : receive.wire_bytes;
                }
            }
            most = std::max(most, received);
            read += plan.totals.read_bytes - plan.totals.over_read_bytes;
        }
        EXPECT_EQ(load.nodes, mesh.world());
        EXPECT_EQ(load.node_received_bytes, most);
        EXPECT_NEAR(static_cast<double>(load.storage_bytes), static_cast<double>(read),
                    static_cast<double>(mesh.world()));
    }
}

TEST(Simulation, NothingCrossesTheNetworkInsideANode) {
    Mesh const mesh = {.dp = 4, .tp = 2};
    auto const model = small_llama("model", mesh);
    auto const load = simulated(model, options_for(mesh, StrategyChoice::cooperative, kMiB), {}, 8);
    EXPECT_EQ(load.nodes, 1);
    EXPECT_EQ(load.node_received_bytes, 0U);
    EXPECT_EQ(load.node_sent_bytes, 0U);
    EXPECT_EQ(load.network_seconds, 0);
    auto const agreements = static_cast<double>(load.waves) * 50e-6;
    EXPECT_NEAR(load.wave_seconds, (load.copy_seconds + agreements) / 2, 1e-12) << "two waves at once";
}

TEST(Simulation, SecondsAreThoseOfASumByHand) {
    Mesh const mesh = {.tp = 2};
    auto const model = small_llama("model", mesh);
    MachineProfile profile;
    profile.read_bytes_per_second = 1e6;
    profile.cached_bytes_per_second = 1e5;
    profile.exchange_bytes_per_second = 2e5;
    profile.request_seconds = 1e-3;
    auto const options = options_for(mesh, StrategyChoice::direct, kMiB);
    auto const plans = plan_all(model, options);
    double const bytes = static_cast<double>(plans[0].totals.read_bytes + plans[1].totals.read_bytes);
    double const requests = static_cast<double>(plans[0].totals.requests + plans[1].totals.requests);

    auto const one_node = simulated(model, options, profile, 2);
    EXPECT_NEAR(one_node.storage_seconds, bytes / 1e6 + requests * 1e-3, 1e-9);
    EXPECT_NEAR(one_node.copy_seconds, bytes / 1e5, 1e-9);
    EXPECT_EQ(one_node.network_seconds, 0);
    EXPECT_EQ(one_node.wave_seconds, 0);
    EXPECT_EQ(one_node.seconds, std::max(one_node.storage_seconds, one_node.copy_seconds));

    profile.shared_bytes_per_second = 1e4;
    EXPECT_NEAR(simulated(model, options, profile, 1).storage_seconds, bytes / 1e4, 1e-9);

    std::vector<FileFacts> facts(model.catalog().files().size());
    for (auto& file : facts) { file.cached_fraction = 1; }
    auto const cached = simulated(model, options, profile, 2, facts);
    EXPECT_EQ(cached.storage_bytes, 0U);
    EXPECT_GT(cached.copy_seconds, 0);

    auto const together = options_for(mesh, StrategyChoice::cooperative, kMiB);
    double needed = 0;
    for (auto const& plan : plan_all(model, together)) { needed += static_cast<double>(plan.totals.needed_bytes); }
    EXPECT_NEAR(simulated(model, together, profile, 2).copy_seconds, needed / 2e5, 1e-9);
}

TEST(Simulation, ARankThatIsAloneHandsNothingOut) {
    Mesh const mesh = {.tp = 1};
    auto const model = small_llama("model", mesh);
    MachineProfile profile;
    profile.exchange_bytes_per_second = 2e5;
    auto const options = options_for(mesh, StrategyChoice::cooperative, kMiB);
    auto const needed = static_cast<double>(plan_all(model, options)[0].totals.needed_bytes);
    EXPECT_NEAR(simulated(model, options, profile, 1).copy_seconds, needed / 2e5 / 2, 1e-9);
}

TEST(Simulation, StripesOfCachedFilesAreCopiesHoweverFewARankReads) {
    Mesh const mesh = {.dp = 64, .tp = 2};
    auto const model = small_llama("model", mesh);
    std::vector<FileFacts> facts(model.catalog().files().size());
    for (auto& file : facts) { file.cached_fraction = 1; }
    auto const options = options_for(mesh, StrategyChoice::cooperative, kMiB);
    EXPECT_GT(simulated(model, options, {}, 8).storage_bytes, 0U);
    auto const cached = simulated(model, options, {}, 8, facts);
    EXPECT_EQ(cached.storage_bytes, 0U);
    EXPECT_GT(cached.copy_seconds, 0);
}

TEST(Simulation, WavesBeyondAThousandAreTakenToBeLikeOthers) {
    Mesh const mesh = {.dp = 2, .tp = 2};
    auto const model = small_llama("model", mesh);
    auto plans = plan_all(model, options_for(mesh, StrategyChoice::cooperative, kMiB));
    // Thousands of waves of the same kind: the first one over and over again.
    for (auto& plan : plans) { plan.waves.assign(4000, plan.waves.front()); }
    Simulation simulation({}, 1);
    simulation.add(plans[0]);
    simulation.add(plans[1]);
    auto const load = simulation.result();
    EXPECT_EQ(load.waves, 4000U);
    EXPECT_EQ(load.played_waves, 1000U);
    std::uint64_t received = 0;
    for (auto const& receive : plans[0].waves.front().receives) {
        received += receive.peer == 0 ? 0 : receive.wire_bytes;
    }
    EXPECT_GE(load.node_received_bytes, 4000 * received);
    auto const crossing = static_cast<double>(std::max(load.node_received_bytes, load.node_sent_bytes));
    EXPECT_NEAR(load.network_seconds, crossing / 12e9, 1e-9);
    auto const longest = std::max({load.storage_seconds, load.copy_seconds, load.network_seconds, load.wave_seconds});
    EXPECT_EQ(load.seconds, longest);
}

}  // namespace
}  // namespace shardwise::test
