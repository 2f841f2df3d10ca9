#include "device/host_memory.hpp"

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <sys/mman.h>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

TEST(HostMemory, BeginsOnAHugePageIsZeroAndIsWritableToItsEnd) {
    for (std::uint64_t const size : {1ULL, 4097ULL, (2ULL << 20U) + 1}) {
        HostMemory const memory(size);
        auto const bytes = memory.bytes();
        ASSERT_EQ(bytes.size(), size);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % (2ULL << 20U), 0U);
        EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; }));
        std::fill(bytes.begin(), bytes.end(), std::byte{0xFF});
    }
    EXPECT_TRUE(HostMemory(0).bytes().empty());
}

TEST(HostMemory, BringingPagesInLeavesWhatTheyHold) {
    constexpr std::uint64_t kSize = 3ULL << 20U;
    HostMemory const memory(kSize);
    memory.bytes()[5] = std::byte{7};
    if (!bring_in(memory.bytes())) { GTEST_SKIP() << "the kernel has no MADV_POPULATE_WRITE"; }
    EXPECT_EQ(memory.bytes()[5], std::byte{7});
    std::vector<unsigned char> resident(kSize / 4096);
    ASSERT_EQ(::mincore(memory.bytes().data(), kSize, resident.data()), 0);
    EXPECT_THAT(resident, testing::Each(1));
    EXPECT_TRUE(bring_in(memory.bytes().subspan(1, 1))) << "it lies on a page, though it does not begin on one";
}

TEST(HostMemory, MovesWithoutCopying) {
    HostMemory first(100);
    auto* const data = first.bytes().data();
    HostMemory second = std::move(first);
    EXPECT_EQ(second.bytes().data(), data);
    HostMemory third;
    third = std::move(second);
    EXPECT_EQ(third.bytes().data(), data);
    third.bytes()[99] = std::byte{1};
}

TEST(HostMemory, MoreThanTheSystemHasIsAMemoryError) {
    EXPECT_THAT(error_of([] { HostMemory const memory(1ULL << 62U); }),
                IsError(Errc::memory, "cannot map 4096 PiB of memory"));
}

TEST(HostMemory, AvailableMemoryIsThereAndBelowWhatIsInstalled) {
    std::ifstream file("/proc/meminfo");
    std::string key;
    std::uint64_t total_kib = 0;
    ASSERT_TRUE(file >> key >> total_kib);
    ASSERT_EQ(key, "MemTotal:");
    EXPECT_GT(available_memory_bytes(), 0U);
    EXPECT_LE(available_memory_bytes(), total_kib << 10U);
}

TEST(HostMemory, ThePeakCountsWhatWasTouchedAndDoesNotSink) {
    constexpr std::uint64_t kSize = 64ULL << 20U;
    auto const before = peak_resident_bytes();
    {
        HostMemory const memory(kSize);
        std::fill(memory.bytes().begin(), memory.bytes().end(), std::byte{1});
    }
    EXPECT_GE(peak_resident_bytes(), std::max(before, kSize));
}

}  // namespace
}  // namespace shardwise::test
