// Pages of the store are brought in one after the other, and what is too small for that is passed over.
#include "exec/fresh_pages.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <sys/mman.h>

namespace shardwise::test {
namespace {

std::size_t resident_pages(Memory const& memory) {
    std::vector<unsigned char> resident((memory.bytes().size() + 4095) / 4096);
    if (::mincore(memory.bytes().data(), memory.bytes().size(), resident.data()) != 0) { return 0; }
    return static_cast<std::size_t>(std::ranges::count_if(resident, [](unsigned char flags) { return flags & 1U; }));
}

TEST(FreshPages, AreBroughtInOneAfterTheOther) {
    if (!bring_in(make_host_memory(4096).bytes())) { GTEST_SKIP() << "the kernel has no MADV_POPULATE_WRITE"; }
    std::vector<Memory> const stretches = {make_host_tensor_memory(1000, 256),
                                           make_host_memory(kHugePageBytes + 5000),
                                           {},
                                           make_host_memory(kHugePageBytes)};
    FreshPages pages(stretches);
    EXPECT_TRUE(pages.bring_in_next());
    EXPECT_EQ(resident_pages(stretches[1]), kHugePageBytes / 4096);
    EXPECT_TRUE(pages.bring_in_next());
    EXPECT_EQ(resident_pages(stretches[1]), kHugePageBytes / 4096 + 2);
    EXPECT_TRUE(pages.bring_in_next());
    EXPECT_EQ(resident_pages(stretches[3]), kHugePageBytes / 4096);
    EXPECT_FALSE(pages.bring_in_next());
    EXPECT_FALSE(FreshPages().bring_in_next());
}

}  // namespace
}  // namespace shardwise::test
