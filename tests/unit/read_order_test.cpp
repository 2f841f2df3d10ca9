// In which order stored tensors are read: layers one after the other, or dealt over files.
#include "plan/read_order.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "support/planning.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint64_t kMiB = 1ULL << 20U;

TEST(ReadOrder, OneFileAtATimeKeepsToTheOrderOfGroups) {
    // Group 1 lies in file 1 and file 0, backwards; group 2 before it in file 0.
    std::vector<ReadPlace> const places = {
        {1, 0, 1, 50, kMiB}, {1, 0, 1, 10, kMiB}, {1, 0, 0, 90, kMiB}, {2, 0, 0, 20, kMiB}, {2, 0, 0, 10, kMiB}};
    auto const order = read_order(places, 1);
    EXPECT_THAT(order.order, ElementsAre(2, 1, 0, 4, 3));
    EXPECT_THAT(order.round_ends, ElementsAre(3, 5));
}

TEST(ReadOrder, FilesAreReadByTurnsOf16MiB) {
    // Four groups of 32 MiB in 8 MiB tensors, each in a file of its own.
    std::vector<ReadPlace> places;
    for (std::uint32_t file = 0; file < 4; ++file) {
        for (std::uint64_t i = 0; i < 4; ++i) { places.push_back({file, 0, file, i * 8 * kMiB, 8 * kMiB}); }
    }
    auto const two = read_order(places, 2);
    EXPECT_THAT(two.order, ElementsAre(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    EXPECT_THAT(two.round_ends, ElementsAre(8, 16));
    auto const many = read_order(places, 100);
    EXPECT_THAT(many.order, ElementsAre(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    EXPECT_THAT(many.round_ends, ElementsAre(16));
}

TEST(ReadOrder, PrioritiesAreNotMixed) {
    std::vector<ReadPlace> const places = {
        {1, 0, 0, 0, kMiB}, {2, 0, 1, 0, 40 * kMiB}, {3, 1, 0, 50, kMiB}, {4, 1, 1, 99, kMiB}, {5, 2, 0, 80, kMiB}};
    auto const order = read_order(places, 8);
    EXPECT_THAT(order.round_ends, ElementsAre(2, 4, 5));
    std::vector<std::uint32_t> priorities;
    for (auto const index : order.order) { priorities.push_back(places[index].priority); }
    EXPECT_TRUE(std::ranges::is_sorted(priorities));
}

TEST(ReadOrder, AGroupInManyFilesIsARoundOfItsOwn) {
    std::vector<ReadPlace> places;
    for (std::uint32_t file = 0; file < 5; ++file) { places.push_back({1, 0, file, 0, kMiB}); }
    places.push_back({2, 0, 5, 0, kMiB});
    EXPECT_THAT(read_order(places, 4).round_ends, ElementsAre(5, 6));
    EXPECT_TRUE(read_order({}, 4).order.empty());
}

TEST(FilesAtOnce, FollowsFileSystemProfileAndWhatIsAskedFor) {
    FileFacts drive;
    drive.file_system = "ext4";
    FileFacts servers;
    servers.file_system = "lustre";
    servers.is_network = true;
    FileFacts cached = servers;
    cached.cached_fraction = 1;
    auto const parallel = load_profile("parallel-fs");
    EXPECT_EQ(choose_files_at_once(0, {}, std::vector{drive, drive}).count, 1U);
    EXPECT_EQ(choose_files_at_once(0, {}, std::vector{drive, servers}).count, 16U);
    EXPECT_THAT(choose_files_at_once(0, {}, std::vector{servers}).reason, HasSubstr("lustre"));
    EXPECT_EQ(choose_files_at_once(0, {}, std::vector{cached}).count, 1U);
    EXPECT_EQ(choose_files_at_once(0, parallel, std::vector{cached}).reason, "cached");
    EXPECT_EQ(choose_files_at_once(0, parallel, std::vector{drive}).count, 16U);
    EXPECT_THAT(choose_files_at_once(0, parallel, {}).reason, HasSubstr("parallel-fs"));
    EXPECT_EQ(choose_files_at_once(3, parallel, std::vector{servers}).count, 3U);
    EXPECT_EQ(choose_files_at_once(1, {}, std::vector{servers}).reason, "asked for");
}

/// Layers of four 16 MiB tensors, each layer in a file of its own; no byte exists.
Plan plan_of_layers(int layers, Mesh const& mesh, std::uint32_t files_at_once, std::int64_t rank) {
    Catalog::Parts parts;
    for (int layer = 0; layer < layers; ++layer) {
        for (std::uint64_t i = 0; i < 4; ++i) {
            parts.tensors.push_back({fmt::format("layers.{}.part{}", layer, i),
                                     DType::u8,
                                     {4096, 4096},
                                     static_cast<std::uint32_t>(layer),
                                     4096 + i * 16 * kMiB,
                                     16 * kMiB});
        }
        parts.files.push_back({fmt::format("{:03}.safetensors", layer), 4096 + 64 * kMiB, 4096});
    }
    Catalog const catalog(std::move(parts));
    Parameters parameters;
    for (std::uint32_t i = 0; i < catalog.tensors().size(); ++i) {
        auto const& tensor = catalog.tensors()[i];
        parameters.list.push_back({tensor.name, {}, stored(i, tensor), cut_along(tensor.shape, 1, mesh.tp)});
    }
    auto options = options_for(mesh, StrategyChoice::cooperative, 256 * kMiB);
    options.files_at_once = files_at_once;
    return plan_parameters(catalog, parameters, options, rank);
}

/// Files that the first stripes of all ranks, which they read at the same time, lie in.
std::size_t files_read_first(std::uint32_t files_at_once) {
    Mesh const mesh = {.dp = 16, .tp = 4};
    std::set<std::uint32_t> files;
    for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
        auto const plan = plan_of_layers(32, mesh, files_at_once, rank);
        std::uint32_t stripes = 0;
        for (auto const& wave : plan.waves) {
            if (wave.reads.empty() || stripes == plan.slot_count) { continue; }
            ++stripes;
            for (auto const& read : wave.reads) { files.insert(read.range.file); }
        }
    }
    return files.size();
}

TEST(ReadOrder, WhatManyRanksReadAtTheSameTimeLiesInManyFiles) {
    // 64 ranks read three stripes of 2 MiB ahead: 384 MiB, six files if they come one after the other.
    EXPECT_LE(files_read_first(1), 7U);
    EXPECT_GE(files_read_first(16), 16U);
}

TEST(ReadOrder, DealtOverFilesEveryByteIsStillReadOnceInLongRequests) {
    Mesh const mesh = {.dp = 2, .tp = 4};
    for (auto const files : {1U, 16U}) {
        std::uint64_t read = 0;
        std::uint64_t requests = 0;
        for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
            auto const plan = plan_of_layers(32, mesh, files, rank);
            read += plan.totals.read_bytes;
            requests += plan.totals.requests;
        }
        EXPECT_EQ(read, 32 * 64 * kMiB);
        EXPECT_LE(requests, 1024 + 32 * 4) << "2 MiB each, and one more where a turn ends";
    }
}

}  // namespace
}  // namespace shardwise::test
