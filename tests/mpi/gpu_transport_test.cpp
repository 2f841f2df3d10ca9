// Messages between GPUs: through the host from emulated ones, by NCCL from real ones.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "comm/nccl_transport.hpp"
#include "comm/staged_transport.hpp"
#include "exec/choose_device.hpp"
#include "support/emulated_accelerator.hpp"
#include "support/error_of.hpp"
#include "support/mpi_world.hpp"

namespace shardwise::test {
namespace {

constexpr std::uint64_t kSizes[] = {1, 3, 4096, 0, 65537, 4095, 300'001};
constexpr std::uint64_t kRoom = 400'000;

std::byte pattern(int from, int to, std::uint64_t which, std::uint64_t at) {
    return static_cast<std::byte>(static_cast<std::uint64_t>(from) * 101 + static_cast<std::uint64_t>(to) * 57 +
                                  which * 31 + at * 7 + (at >> 8U));
}

/// Fills memory of a GPU with what @p from sends to @p to in round @p which.
void fill(Accelerator& gpu, Stream& stream, std::span<std::byte> target, int from, int to, std::uint64_t which) {
    auto const pinned = gpu.allocate_pinned(target.size());
    for (std::uint64_t i = 0; i < target.size(); ++i) { pinned.bytes()[i] = pattern(from, to, which, i); }
    stream.copy(pinned.bytes(), target.data());
    finish(stream);
}

bool holds(Accelerator& gpu, Stream& stream, std::span<std::byte const> bytes, int from, int to, std::uint64_t which) {
    auto const pinned = gpu.allocate_pinned(bytes.size());
    stream.copy(bytes, pinned.bytes().data());
    finish(stream);
    for (std::uint64_t i = 0; i < bytes.size(); ++i) {
        if (pinned.bytes()[i] != pattern(from, to, which, i)) { return false; }
    }
    return true;
}

/// Every rank sends to every other one, round after round, all sizes.
void exchange_all(MpiCommunicator& world, Accelerator& gpu, Stream& stream, Transport& transport) {
    auto const others = static_cast<std::uint64_t>(world.size() - 1);
    auto const out = gpu.allocate(std::max<std::uint64_t>(1, others * kRoom));
    auto const in = gpu.allocate(std::max<std::uint64_t>(1, others * kRoom));
    for (std::uint64_t which = 0; which < std::size(kSizes); ++which) {
        std::vector<std::pair<int, std::span<std::byte>>> expected;
        std::uint64_t at = 0;
        for (int peer = 0; peer < world.size(); ++peer) {
            if (peer == world.rank()) { continue; }
            auto const room = in.bytes().subspan(at, kSizes[which]);
            auto const message = out.bytes().subspan(at, kSizes[which]);
            fill(gpu, stream, message, world.rank(), peer, which);
            transport.receive({peer}, room, expected.size());
            transport.send({peer}, message);
            expected.emplace_back(peer, room);
            at += kRoom;
        }
        transport.start();
        std::vector<std::uint64_t> ids;
        for (bool is_first = true; !transport.is_idle(); is_first = false) {
            transport.poll(ids);
            world.pause(is_first);
        }
        std::ranges::sort(ids);
        ASSERT_EQ(ids.size(), expected.size());
        for (std::uint64_t i = 0; i < ids.size(); ++i) {
            EXPECT_EQ(ids[i], i);
            auto const& [peer, room] = expected[i];
            EXPECT_TRUE(holds(gpu, stream, room, peer, world.rank(), which))
                << kSizes[which] << " B of rank " << peer;
        }
    }
}

/// Every rank but the first broadcasts, round after round, all sizes.
void broadcast_all(MpiCommunicator& world, Accelerator& gpu, Stream& stream, Transport& transport) {
    auto const memory = gpu.allocate(kRoom * static_cast<std::uint64_t>(world.size()));
    for (std::uint64_t which = 0; which < std::size(kSizes); ++which) {
        if (kSizes[which] == 0) { continue; }
        auto const room_of = [&](int rank) {
            return memory.bytes().subspan(static_cast<std::uint64_t>(rank) * kRoom, kSizes[which]);
        };
        std::vector<int> roots;
        for (int root = world.size() - 1; root > 0; --root) {  // in an order that no rank relies on
            if (root != world.rank()) {
                transport.receive_broadcast(root, room_of(root), roots.size());
                roots.push_back(root);
                continue;
            }
            fill(gpu, stream, room_of(root), root, 0, which);
            transport.broadcast(room_of(root));
        }
        transport.start();
        std::vector<std::uint64_t> ids;
        for (bool is_first = true; !transport.is_idle(); is_first = false) {
            transport.poll(ids);
            world.pause(is_first);
        }
        ASSERT_EQ(ids.size(), roots.size());
        for (auto const root : roots) {
            EXPECT_TRUE(holds(gpu, stream, room_of(root), root, 0, which)) << kSizes[which] << " B of rank " << root;
        }
    }
}

TEST(StagedTransport, MessagesOfAnySizeArriveWhole) {
    auto const world = make_world(0);
    auto const gpu = make_emulated_accelerator();
    auto const stream = gpu->make_stream();
    std::string ignored;
    auto messages = make_mpi_transport(*world, {}, TransportChoice::mpi, ignored);
    auto const room = 2 * kRoom * static_cast<std::uint64_t>(world->size());
    auto const transport = make_staged_transport(std::move(messages), *gpu, *stream, room);
    EXPECT_EQ(transport->name(), "mpi");
    EXPECT_EQ(transport->staging_bytes(), room);
    EXPECT_FALSE(transport->has_broadcast());
    exchange_all(*world, *gpu, *stream, *transport);
}

TEST(StagedTransport, WhatSeveralRanksGetComesToTheHostOnce) {
    auto const world = make_world(0);
    auto const gpu = make_emulated_accelerator();
    auto const stream = gpu->make_stream();
    std::string ignored;
    auto messages = make_mpi_transport(*world, {}, TransportChoice::mpi, ignored);
    // Room for one message out and one from each of the others.
    auto const transport = make_staged_transport(std::move(messages), *gpu, *stream,
                                                 4096 * static_cast<std::uint64_t>(world->size()));
    auto const out = gpu->allocate(4096);
    fill(*gpu, *stream, out.bytes(), world->rank(), 0, 1);
    auto const in = gpu->allocate(4096 * static_cast<std::uint64_t>(world->size()));
    for (int peer = 0; peer < world->size(); ++peer) {
        if (peer == world->rank()) { continue; }
        transport->receive({peer}, in.bytes().subspan(4096 * static_cast<std::uint64_t>(peer), 4096), 0);
        transport->send({peer}, out.bytes());
    }
    transport->start();
    std::vector<std::uint64_t> ids;
    for (bool is_first = true; !transport->is_idle(); is_first = false) {
        transport->poll(ids);
        world->pause(is_first);
    }
    for (int peer = 0; peer < world->size(); ++peer) {
        auto const room = in.bytes().subspan(4096 * static_cast<std::uint64_t>(peer), 4096);
        if (peer != world->rank()) { EXPECT_TRUE(holds(*gpu, *stream, room, peer, 0, 1)) << peer; }
    }
}

TEST(NcclTransport, MessagesOfAnySizeArriveWhole) {
    auto const world = make_world(0);
    auto const visible = visible_gpus();
    if (visible.count == 0) { GTEST_SKIP() << visible.obstacle; }
    auto const gpu = open_own_gpu(std::nullopt, *world);
    auto const stream = gpu->make_stream();
    if (auto const obstacle = nccl_obstacle(*world, *gpu, *stream); !obstacle.empty()) { GTEST_SKIP() << obstacle; }
    auto const transport = make_nccl_transport(*world, *stream);
    EXPECT_EQ(transport->name(), "nccl");
    exchange_all(*world, *gpu, *stream, *transport);
    ASSERT_TRUE(transport->has_broadcast());
    broadcast_all(*world, *gpu, *stream, *transport);
    ASSERT_TRUE(world->wait(*world->start_agreement(std::nullopt)).is_ok());
}

TEST(NcclTransport, ObstaclesAreTheSameOnAllRanks) {
    auto const world = make_world(0);
    auto const gpu = make_emulated_accelerator();
    auto const stream = gpu->make_stream();
    auto const obstacle = nccl_obstacle(*world, *gpu, *stream);
    EXPECT_NE(obstacle, "");
    for (auto const& other : gather_texts(*world, obstacle)) { EXPECT_EQ(other, obstacle); }
}

/// The real library: without a driver it refuses, each rank for itself, and all say what one of them said.
TEST(NcclTransport, RanksThatCannotConnectEndAlikeAndGoOn) {
    auto const world = make_world(0);
    if (visible_gpus().count > 0) { GTEST_SKIP() << "there are GPUs"; }
    auto const gpu = make_emulated_accelerator();
    auto const stream = gpu->make_stream();
    auto const error = error_of([&] { static_cast<void>(make_nccl_transport(*world, *stream)); });
    ASSERT_TRUE(error.has_value());
    if (error->code() == Errc::unavailable) { GTEST_SKIP() << error->what(); }
    EXPECT_THAT(error, IsError(Errc::io, "NCCL: "));
    for (auto const& other : gather_texts(*world, error->what())) { EXPECT_EQ(other, error->what()); }
    EXPECT_FALSE(world->is_alarm_raised()) << "the ranks cannot work together any more";
}

}  // namespace
}  // namespace shardwise::test
