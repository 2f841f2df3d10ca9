// Parts of memory never overlap, come back in any order, and are one again when all are back.
#include "exec/buffer_room.hpp"

#include <map>
#include <random>

#include <gmock/gmock.h>

namespace shardwise::test {
namespace {

using Bytes = std::vector<std::byte>;

std::size_t begin_of(std::span<std::byte> part, Bytes const& memory) {
    return static_cast<std::size_t>(part.data() - memory.data());
}

TEST(BufferRoom, HandsOutTheFirstPartThatIsLongEnough) {
    Bytes memory(100);
    BufferRoom room(memory);
    auto const first = room.take(30);
    auto const second = room.take(20);
    auto const third = room.take(50);
    EXPECT_EQ(begin_of(third, memory), 50U);
    EXPECT_TRUE(room.take(1).empty());
    room.give_back(first);
    EXPECT_TRUE(room.take(31).empty());
    EXPECT_EQ(begin_of(room.take(10), memory), 0U);
    room.give_back(second);
    EXPECT_EQ(begin_of(room.take(40), memory), 10U) << "neighbours are one part again";
}

TEST(BufferRoom, WithoutMemoryHandsNothingOut) {
    EXPECT_TRUE(BufferRoom({}).take(1).empty());
    EXPECT_EQ(BufferRoom({}).used_bytes(), 0U);
}

TEST(BufferRoom, CountsToTheLastByteThatWasInUse) {
    Bytes memory(100);
    BufferRoom room(memory);
    auto const first = room.take(30);
    auto const second = room.take(30);
    room.give_back(first);
    room.give_back(second);
    static_cast<void>(room.take(40));
    EXPECT_EQ(room.used_bytes(), 60U);
}

TEST(BufferRoom, PartsDoNotOverlapWhateverTheOrder) {
    std::mt19937 random(7);
    Bytes memory(4096);
    BufferRoom room(memory);
    std::map<std::size_t, std::span<std::byte>> taken;  // by where they begin
    for (int step = 0; step < 20000; ++step) {
        if (random() % 2 == 0) {
            auto const size = 1 + random() % 700;
            auto const part = room.take(size);
            if (part.empty()) { continue; }
            ASSERT_EQ(part.size(), size);
            auto const [at, is_new] = taken.emplace(begin_of(part, memory), part);
            ASSERT_TRUE(is_new);
            ASSERT_TRUE(at == taken.begin() || std::prev(at)->first + std::prev(at)->second.size() <= at->first);
            auto const next = std::next(at);
            ASSERT_LE(at->first + size, next == taken.end() ? memory.size() : next->first);
        } else if (!taken.empty()) {
            auto const at = std::next(taken.begin(), static_cast<std::ptrdiff_t>(random() % taken.size()));
            room.give_back(at->second);
            taken.erase(at);
        }
    }
    for (auto const& [begin, part] : taken) { room.give_back(part); }
    EXPECT_EQ(room.take(memory.size()).size(), memory.size());
}

}  // namespace
}  // namespace shardwise::test
