// Bytes of one rank passed on to many: played through message by message, every rank knowing only its own part.
#include "plan/fan_out.hpp"

#include <map>
#include <set>
#include <vector>

#include <gmock/gmock.h>

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAreArray;

struct Played {
    std::map<int, int> round_of;  ///< when a rank has the bytes; the root in round -1
    std::map<int, int> sent;      ///< messages by sender
};

/// Plays the messages of the ranks that may take part; each must have the bytes before the round in which it sends.
Played play(FanOut const& fan, int root, std::set<int> const& ranks) {
    std::map<int, std::vector<std::pair<int, int>>> rounds;
    for (auto const from : ranks) {
        fan.for_each_next(from,
                          [&](std::uint32_t round, int to) { rounds[static_cast<int>(round)].emplace_back(from, to); });
    }
    Played played;
    played.round_of[root] = -1;
    for (auto const& [round, messages] : rounds) {
        for (auto const& [from, to] : messages) {
            EXPECT_TRUE(played.round_of.contains(from) && played.round_of[from] < round)
                << from << " sends in round " << round << " what it does not have";
            EXPECT_TRUE(played.round_of.emplace(to, round).second) << to << " gets the bytes twice";
            ++played.sent[from];
            auto const way = fan.way_to(to);
            EXPECT_TRUE(way && static_cast<int>(way->round) == round && way->from == from)
                << to << " does not know where its bytes come from";
        }
    }
    EXPECT_FALSE(fan.way_to(root));
    return played;
}

/// So many ranks on each node, one after the other.
std::vector<std::uint32_t> nodes_of(Mesh const& mesh, std::int64_t ranks) {
    std::vector<std::uint32_t> nodes;
    for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
        nodes.push_back(static_cast<std::uint32_t>(rank / ranks));
    }
    return nodes;
}

/// Dealt out to nodes like cards, the first ones twice: nodes of different sizes, whose ranks lie apart.
std::vector<std::uint32_t> dealt_nodes(Mesh const& mesh, std::int64_t nodes) {
    std::vector<std::uint32_t> result;
    for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
        result.push_back(static_cast<std::uint32_t>(rank % (2 * nodes) % (nodes + nodes / 2) % nodes));
    }
    return result;
}

TEST(FanOut, EveryReplicaGetsThePieceOnceWhoeverReadIt) {
    for (std::int64_t const dp : {1, 2, 3, 4, 5, 8, 13, 64}) {
        Mesh const mesh = {.pp = 2, .dp = dp, .tp = 3};
        auto const world = static_cast<int>(mesh.world());
        for (int root = 0; root<world; root += dp> 5 ? 7 : 1) {
            for (std::int64_t leader : {std::int64_t{1}, 3 * dp + 2}) {
                std::set<int> wanted = {root};
                for (int replica = 0; replica < dp; ++replica) {
                    wanted.insert(static_cast<int>(leader) + 3 * replica);
                }
                for (auto const& nodes : {nodes_of(mesh, 1), nodes_of(mesh, 4), nodes_of(mesh, world),
                                          dealt_nodes(mesh, 2), dealt_nodes(mesh, 5)}) {
                    FanOuts fans(mesh, nodes);
                    auto const played = play(fans.to_replicas(root, leader), root, wanted);
                    std::set<int> having;
                    for (auto const& [rank, round] : played.round_of) { having.insert(rank); }
                    ASSERT_THAT(having, UnorderedElementsAreArray(wanted)) << "dp " << dp << ", root " << root;
                }
            }
        }
    }
}

/// Messages from other nodes, by node.
std::map<std::uint32_t, int> arrivals(FanOut const& fan, std::set<int> const& ranks,
                                      std::vector<std::uint32_t> const& nodes) {
    std::map<std::uint32_t, int> count;
    for (auto const rank : ranks) {
        auto const way = fan.way_to(rank);
        auto const node = nodes[static_cast<std::size_t>(rank)];
        if (way && nodes[static_cast<std::size_t>(way->from)] != node) { ++count[node]; }
    }
    return count;
}

TEST(FanOut, BytesCrossTheNetworkOnceForEachNode) {
    Mesh const mesh = {.dp = 64, .tp = 2};
    std::set<int> all;
    std::set<int> odd;
    for (int rank = 0; rank < 128; ++rank) { (rank % 2 == 0 ? all : odd).insert(rank); }
    all.insert(odd.begin(), odd.end());
    for (auto const& nodes : {nodes_of(mesh, 8), dealt_nodes(mesh, 11)}) {
        FanOuts fans(mesh, nodes);
        for (int const root : {0, 1, 77, 127}) {
            auto const once_elsewhere = [&](std::set<int> const& ranks) {
                std::map<std::uint32_t, int> once;
                for (auto const rank : ranks) { once[nodes[static_cast<std::size_t>(rank)]] = 1; }
                once.erase(nodes[static_cast<std::size_t>(root)]);
                return once;
            };
            EXPECT_EQ(arrivals(fans.to_all(root), all, nodes), once_elsewhere(all)) << "root " << root;
            EXPECT_EQ(arrivals(fans.to_replicas(root, 1), odd, nodes), once_elsewhere(odd)) << "root " << root;
        }
    }
}

TEST(FanOut, RanksOfANodeTakeTurnsInReceivingForIt) {
    Mesh const mesh = {.dp = 4, .tp = 4};
    FanOuts fans(mesh, nodes_of(mesh, 8));
    std::set<int> receiving;
    for (int root = 0; root < 8; ++root) {
        fans.to_all(root).for_each_next(root, [&](std::uint32_t, int to) {
            if (to >= 8) { receiving.insert(to); }
        });
    }
    EXPECT_EQ(receiving.size(), 8U);
}

TEST(FanOut, AnyReceiverDescribesTheSameFan) {
    Mesh const mesh = {.dp = 9, .fsdp = 2, .tp = 2};
    for (int receiver = 3; receiver < 36; receiver += 4) {
        FanOuts fans(mesh, nodes_of(mesh, 8));
        auto const way = fans.to_replicas(14, receiver).way_to(31);
        auto const same = fans.to_replicas(14, 3).way_to(31);
        ASSERT_TRUE(way && same);
        EXPECT_EQ(way->from, same->from);
        EXPECT_EQ(way->round, same->round);
    }
}

TEST(FanOut, AmongManyEverybodyPassesOnAndRoundsAreFew) {
    Mesh const mesh = {.dp = 512, .tp = 8};
    std::set<int> all;
    for (int rank = 0; rank < 4096; ++rank) { all.insert(rank); }
    FanOuts fans(mesh, nodes_of(mesh, 1));
    auto const played = play(fans.to_all(1234), 1234, all);
    EXPECT_EQ(played.round_of.size(), 4096U);
    for (auto const& [rank, round] : played.round_of) { EXPECT_LT(round, 12); }
    for (auto const& [rank, count] : played.sent) { EXPECT_LE(count, 12); }
    EXPECT_EQ(played.sent.size(), 2048U);
}

TEST(FanOut, AmongFewTheRootSendsAllItself) {
    Mesh const mesh = {.dp = 4, .tp = 2};
    std::vector<int> to;
    FanOuts fans(mesh, nodes_of(mesh, 1));
    fans.to_replicas(3, 1).for_each_next(3, [&](std::uint32_t round, int rank) {
        EXPECT_EQ(round, 0U);
        to.push_back(rank);
    });
    EXPECT_THAT(to, ElementsAre(5, 7, 1));
}

}  // namespace
}  // namespace shardwise::test
