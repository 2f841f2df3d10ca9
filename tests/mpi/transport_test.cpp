// Outboxes and messages between ranks of one node, of several, and of some of each.
#include "comm/transport.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "support/mpi_world.hpp"

namespace shardwise::test {
namespace {

using ::testing::HasSubstr;

/// Ranks a node (0: all on one), and what the user asks for.
struct Setting {
    int ranks_per_node;
    TransportChoice choice;
};
constexpr Setting kSettings[] = {{0, TransportChoice::automatic}, {0, TransportChoice::shm},
                                 {0, TransportChoice::mpi},       {1, TransportChoice::automatic},
                                 {2, TransportChoice::automatic}, {3, TransportChoice::mpi}};

constexpr OutboxSpec kOutboxes = {3, 8, 8192};

std::byte pattern(int rank, std::uint64_t which, std::uint64_t at) {
    return static_cast<std::byte>(static_cast<std::uint64_t>(rank) * 101 + which * 31 + at * 7 + (at >> 8U));
}

std::vector<std::byte> filled(int rank, std::uint64_t which, std::uint64_t size) {
    std::vector<std::byte> bytes(size);
    for (std::uint64_t i = 0; i < size; ++i) { bytes[i] = pattern(rank, which, i); }
    return bytes;
}

bool are_neighbours(Setting const& setting, int a, int b) {
    if (a == b || setting.choice == TransportChoice::mpi) { return false; }
    return setting.ranks_per_node == 0 || a / setting.ranks_per_node == b / setting.ranks_per_node;
}

std::unique_ptr<Transport> make(MpiCommunicator& world, Setting const& setting) {
    std::string note;
    auto transport = make_mpi_transport(world, kOutboxes, setting.choice, note);
    EXPECT_EQ(note, "");
    return transport;
}

/// Polls until everything is in and out; gives the ids in the order of arrival.
std::vector<std::uint64_t> drain(MpiCommunicator& world, Transport& transport) {
    std::vector<std::uint64_t> ids;
    for (bool is_first = true; !transport.is_idle(); is_first = false) {
        transport.poll(ids);
        world.pause(is_first);
    }
    return ids;
}

TEST(Transport, KnowsWhoSharesMemory) {
    for (auto const& setting : kSettings) {
        auto const world = make_world(setting.ranks_per_node);
        auto const transport = make(*world, setting);
        int neighbours = 0;
        for (int rank = 0; rank < world->size(); ++rank) {
            if (rank == world->rank()) { continue; }
            for (int other = 0; other < rank; ++other) {
                EXPECT_EQ(transport->share_memory(rank, other), are_neighbours(setting, rank, other));
            }
            neighbours += are_neighbours(setting, world->rank(), rank) ? 1 : 0;
        }
        EXPECT_EQ(transport->outbox(0, 0).empty(), neighbours == 0);
        if (neighbours == world->size() - 1 && neighbours > 0) { EXPECT_EQ(transport->name(), "shm"); }
        if (setting.choice == TransportChoice::mpi) { EXPECT_EQ(transport->name(), "mpi"); }
    }
}

TEST(Transport, ChannelsKeepTheirMessagesApart) {
    auto const world = make_world(0);
    auto const transport = make(*world, {0, TransportChoice::mpi});
    ASSERT_GE(transport->channels(), 2U);
    int const next = (world->rank() + 1) % world->size();
    int const before = (world->rank() + world->size() - 1) % world->size();
    auto const first = filled(world->rank(), 0, 5000);
    auto const second = filled(world->rank(), 1, 5000);
    std::vector<std::byte> in_first(first.size());
    std::vector<std::byte> in_second(second.size());
    // Asked for in the other order than sent.
    transport->receive({before, 1}, in_second, 7);
    EXPECT_FALSE(transport->is_idle_on(1));
    EXPECT_TRUE(transport->is_idle_on(0));
    transport->receive({before, 0}, in_first, 8);
    transport->send({next, 0}, first);
    transport->send({next, 1}, second);
    EXPECT_THAT(drain(*world, *transport), testing::UnorderedElementsAre(7U, 8U));
    EXPECT_EQ(in_first, filled(before, 0, 5000));
    EXPECT_EQ(in_second, filled(before, 1, 5000));
    EXPECT_TRUE(transport->is_idle_on(0) && transport->is_idle_on(1));
}

TEST(Transport, NeighboursSeeWhatLiesInOutboxes) {
    auto const seat = [](int rank) { return static_cast<std::uint32_t>(7 - rank); };
    for (auto const& setting : kSettings) {
        auto const world = make_world(setting.ranks_per_node);
        auto const transport = make(*world, setting);
        for (int round = 0; round < 3; ++round) {
            auto const key = [&](std::uint32_t index) { return static_cast<std::uint64_t>(round) * 10 + index; };
            for (std::uint32_t index = 0; index < kOutboxes.count; ++index) {
                auto const outbox = transport->outbox(index, seat(world->rank()));
                if (outbox.empty()) { continue; }
                EXPECT_EQ(outbox.size(), kOutboxes.bytes);
                EXPECT_EQ(reinterpret_cast<std::uintptr_t>(outbox.data()) % 4096, 0U);
                std::ranges::copy(filled(world->rank(), key(index), outbox.size()), outbox.begin());
            }
            transport->synchronize();
            ASSERT_TRUE(world->wait(*world->start_agreement(std::nullopt)).is_ok());
            transport->synchronize();
            for (int rank = 0; rank < world->size(); ++rank) {
                if (rank == world->rank() || !transport->share_memory(rank, world->rank())) { continue; }
                for (std::uint32_t index = 0; index < kOutboxes.count; ++index) {
                    EXPECT_TRUE(std::ranges::equal(transport->outbox(index, seat(rank)),
                                                   filled(rank, key(index), kOutboxes.bytes)))
                        << "outbox " << index << " of rank " << rank;
                }
            }
            ASSERT_TRUE(world->wait(*world->start_agreement(std::nullopt)).is_ok());
        }
    }
}

TEST(Transport, MessagesOfAnySizeArriveWholeAndInOrder) {
    static constexpr std::uint64_t kSizes[] = {1, 3, 4096, 0, 65537, 4095, 300'001};
    for (auto const& setting : kSettings) {
        auto const world = make_world(setting.ranks_per_node);
        auto const transport = make(*world, setting);
        std::map<std::uint64_t, std::pair<std::vector<std::byte>, std::vector<std::byte>>>
            incoming;  // by id: room, expected
        std::vector<std::vector<std::byte>> outgoing;
        for (int peer = 0; peer < world->size(); ++peer) {
            if (peer == world->rank()) { continue; }
            for (std::uint64_t i = 0; i < std::size(kSizes); ++i) {
                auto const id = static_cast<std::uint64_t>(peer) * 100 + i;
                auto const at =
                    incoming.emplace(id, std::pair(std::vector<std::byte>(kSizes[i]), filled(peer, i, kSizes[i])))
                        .first;
                transport->receive({peer}, at->second.first, id);
                outgoing.push_back(filled(world->rank(), i, kSizes[i]));
                transport->send({peer}, outgoing.back());
            }
        }
        auto ids = drain(*world, *transport);
        std::ranges::sort(ids);
        ASSERT_EQ(ids.size(), incoming.size()) << "each message is reported once";
        auto id = ids.begin();
        for (auto const& [key, rooms] : incoming) {
            EXPECT_EQ(*id++, key);
            EXPECT_TRUE(rooms.first == rooms.second) << "message " << key;
        }
    }
}

TEST(Transport, ManySmallMessagesKeepTheirOrder) {
    constexpr std::uint64_t kCount = 500;
    auto const world = make_world();
    auto const transport = make(*world, {0, TransportChoice::mpi});
    auto const next = (world->rank() + 1) % world->size();
    auto const before = (world->rank() + world->size() - 1) % world->size();
    std::vector<std::uint64_t> sent(kCount);
    std::vector<std::uint64_t> received(kCount);
    for (std::uint64_t i = 0; i < kCount; ++i) {
        sent[i] = static_cast<std::uint64_t>(world->rank()) * 1'000'000 + i;
        transport->receive({before}, std::as_writable_bytes(std::span(received).subspan(i, 1)), i);
        transport->send({next}, std::as_bytes(std::span(sent).subspan(i, 1)));
    }
    EXPECT_EQ(drain(*world, *transport).size(), kCount);
    for (std::uint64_t i = 0; i < kCount; ++i) {
        ASSERT_EQ(received[i], static_cast<std::uint64_t>(before) * 1'000'000 + i);
    }
}

TEST(Transport, MessagesThatAFailedLoadLeftBehindDoNotMeetTheNextOnes) {
    auto const world = make_world();
    auto const next = (world->rank() + 1) % world->size();
    auto const before = (world->rank() + world->size() - 1) % world->size();
    // Waits for messages that never come; like a failed load, it is left to the end of the process.
    static std::vector<std::byte> forgotten(16, std::byte{0x11});
    auto* const abandoned = make(*world, {0, TransportChoice::mpi}).release();
    abandoned->receive({before}, forgotten, 1);

    auto const transport = make(*world, {0, TransportChoice::mpi});
    std::vector<std::byte> room(16);
    auto const message = filled(world->rank(), 5, 16);
    transport->receive({before}, room, 2);
    transport->send({next}, message);
    EXPECT_EQ(drain(*world, *transport), std::vector<std::uint64_t>{2});
    EXPECT_EQ(room, filled(before, 5, 16));
    EXPECT_EQ(forgotten, std::vector<std::byte>(16, std::byte{0x11}));
}

TEST(Transport, SharedMemoryBetweenNodesIsRefused) {
    auto const world = make_world(1);
    std::string note;
    if (world->size() == 1) {
        EXPECT_NO_THROW(make_mpi_transport(*world, kOutboxes, TransportChoice::shm, note));
        return;
    }
    try {
        make_mpi_transport(*world, kOutboxes, TransportChoice::shm, note);
        FAIL() << "ranks on different nodes share memory";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::unavailable);
        EXPECT_THAT(error.what(), HasSubstr(fmt::format("{} nodes", world->size())));
    }
}

TEST(Transport, OutboxesThatDoNotFitAreRefusedOrDoneWithout) {
    auto const world = make_world();
    OutboxSpec const huge = {1, 1, 1ULL << 50U};
    EXPECT_THROW(
        {
            std::string note;
            make_mpi_transport(*world, huge, TransportChoice::shm, note);
        },
        Error);
    std::string note;
    auto const transport = make_mpi_transport(*world, huge, TransportChoice::automatic, note);
    EXPECT_EQ(transport->name(), "mpi");
    EXPECT_THAT(note, HasSubstr("/dev/shm"));
}

}  // namespace
}  // namespace shardwise::test
