// Pages under tensors are brought in by block or one after the other, and what is too small for that is passed over.
#include "exec/fresh_pages.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <sys/mman.h>

#include "device/host_memory.hpp"
#include "device/memory.hpp"

namespace shardwise::test {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPagesOfAHugePage = kHugePageBytes / kPage;

/// Of the pages from the one that holds the first byte to the one that holds the last.
std::size_t resident_pages(std::span<std::byte const> bytes) {
    auto const first = reinterpret_cast<std::uintptr_t>(bytes.data()) / kPage;
    auto const last = reinterpret_cast<std::uintptr_t>(&bytes.back()) / kPage;
    std::vector<unsigned char> resident(last + 1 - first);
    if (::mincore(reinterpret_cast<void*>(first * kPage), resident.size() * kPage, resident.data()) != 0) { return 0; }
    return static_cast<std::size_t>(std::ranges::count_if(resident, [](unsigned char flags) { return flags & 1U; }));
}

/// Small pages, so that what was touched can be told from what came with it.
class Arena {
   public:
    explicit Arena(std::uint64_t size_bytes) : memory_(size_bytes) {
        ::madvise(memory_.bytes().data(), memory_.bytes().size(), MADV_NOHUGEPAGE);
    }
    std::span<std::byte> part(std::uint64_t begin, std::uint64_t size_bytes) const {
        return memory_.bytes().subspan(begin, size_bytes);
    }

   private:
    HostMemory memory_;
};

class FreshPagesTest : public testing::Test {
   protected:
    void SetUp() override {
        if (!bring_in(make_host_memory(kPage).bytes())) { GTEST_SKIP() << "the kernel has no MADV_POPULATE_WRITE"; }
    }
};

TEST_F(FreshPagesTest, AreBroughtInOneAfterTheOther) {
    std::vector<Memory> const memory = {make_host_tensor_memory(1000, 256),
                                        make_host_memory(kHugePageBytes + 5000),
                                        {},
                                        make_host_memory(kHugePageBytes)};
    std::vector<std::span<std::byte>> tensors;
    for (auto const& one : memory) { tensors.push_back(one.bytes()); }
    FreshPages pages(tensors);
    EXPECT_TRUE(pages.bring_in_next());
    EXPECT_EQ(resident_pages(tensors[1]), kPagesOfAHugePage);
    EXPECT_TRUE(pages.bring_in_next());
    EXPECT_EQ(resident_pages(tensors[1]), kPagesOfAHugePage + 2);
    EXPECT_TRUE(pages.bring_in_next());
    EXPECT_EQ(resident_pages(tensors[3]), kPagesOfAHugePage);
    EXPECT_FALSE(pages.bring_in_next());
    EXPECT_FALSE(FreshPages({}).bring_in_next());
}

TEST_F(FreshPagesTest, UnderABlockAreBroughtInOnce) {
    Arena const arena(4 * kHugePageBytes);
    // Three tensors of one arena: the second begins on the first's last huge page and ends on the third's first.
    std::vector<std::span<std::byte>> const tensors = {arena.part(0, kHugePageBytes + 100),
                                                       arena.part(kHugePageBytes + 256, kHugePageBytes),
                                                       arena.part(2 * kHugePageBytes + 256, 2 * kHugePageBytes - 256)};
    FreshPages pages(tensors);
    // The first bytes of the third huge page.
    std::vector<CopyBlock> blocks = {CopyBlock{.tensor = 1, .target = kHugePageBytes - 256, .run_bytes = 256}};
    pages.bring_in(blocks);
    EXPECT_EQ(resident_pages(arena.part(0, 2 * kHugePageBytes)), 0U);
    EXPECT_EQ(resident_pages(arena.part(2 * kHugePageBytes, kHugePageBytes)), kPagesOfAHugePage);
    EXPECT_EQ(resident_pages(arena.part(3 * kHugePageBytes, kHugePageBytes)), 0U);

    ::madvise(arena.part(2 * kHugePageBytes, 1).data(), kHugePageBytes, MADV_DONTNEED);
    pages.bring_in(blocks);
    EXPECT_TRUE(pages.bring_in_next());
    EXPECT_EQ(resident_pages(arena.part(2 * kHugePageBytes, kHugePageBytes)), 0U) << "it was brought in before";
    EXPECT_EQ(resident_pages(arena.part(0, kHugePageBytes)), kPagesOfAHugePage);

    // Two rows, half a huge page apart, at the end of the first tensor's first huge page and in the one after it.
    blocks = {CopyBlock{.tensor = 0, .target = kHugePageBytes / 2 + 50, .run_bytes = 50}};
    blocks.front().loops.push_back({2, 100, kHugePageBytes / 2});
    pages.bring_in(blocks);
    EXPECT_EQ(resident_pages(arena.part(kHugePageBytes, kHugePageBytes)), kPagesOfAHugePage);
    EXPECT_TRUE(pages.bring_in_next());
    EXPECT_EQ(resident_pages(arena.part(3 * kHugePageBytes, kHugePageBytes)), kPagesOfAHugePage);
    EXPECT_FALSE(pages.bring_in_next());
}

TEST_F(FreshPagesTest, OfTensorsBelowAHugePageAreBroughtInTogetherWithTheirNeighboursOnly) {
    Arena const arena(3 * kHugePageBytes);
    constexpr std::uint64_t kSmall = 1000;
    constexpr std::uint64_t kStep = 1024;
    std::vector<std::span<std::byte>> tensors;
    for (std::uint64_t at = 0; at + kStep <= 2 * kHugePageBytes; at += kStep) {
        tensors.push_back(arena.part(at, kSmall));
    }
    tensors.push_back(arena.part(2 * kHugePageBytes + kHugePageBytes / 2, kSmall));  // with nobody beside it
    FreshPages pages(tensors);
    auto const last = static_cast<std::uint32_t>(tensors.size() - 1);
    pages.bring_in(std::vector{CopyBlock{.tensor = last, .target = 0, .run_bytes = kSmall},
                               CopyBlock{.tensor = last - 1, .target = 0, .run_bytes = kSmall}});
    EXPECT_EQ(resident_pages(arena.part(0, kHugePageBytes)), 0U);
    EXPECT_EQ(resident_pages(arena.part(kHugePageBytes, kHugePageBytes)), kPagesOfAHugePage);
    EXPECT_EQ(resident_pages(arena.part(2 * kHugePageBytes, kHugePageBytes)), 0U);
}

TEST_F(FreshPagesTest, OfCastElementsReachToTheLastOnesEnd) {
    Arena const arena(3 * kHugePageBytes);
    std::vector<std::span<std::byte>> const tensors = {arena.part(0, 3 * kHugePageBytes)};
    FreshPages pages(tensors);
    // Elements of 2 B that become 4 B: they end two bytes past the first huge page.
    auto block = CopyBlock{.tensor = 0, .target = kHugePageBytes - 6, .run_bytes = 4};
    block.cast = {.from = DType::bf16, .to = DType::f32, .target_step = 4};
    auto nothing = block;
    nothing.run_bytes = 0;
    pages.bring_in({&nothing, 1});
    EXPECT_EQ(resident_pages(arena.part(0, 3 * kHugePageBytes)), 0U);
    pages.bring_in({&block, 1});
    EXPECT_EQ(resident_pages(arena.part(kHugePageBytes, kHugePageBytes)), kPagesOfAHugePage);
    EXPECT_EQ(resident_pages(arena.part(2 * kHugePageBytes, kHugePageBytes)), 0U);
}

}  // namespace
}  // namespace shardwise::test
