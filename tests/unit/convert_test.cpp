// Kernels: the reference against values made by hand, the fast one against the reference; digests against values that
// Python's integers gave, and against the laws they are relied on for.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include <gmock/gmock.h>

#include "convert/place.hpp"
#include "convert/position_digest.hpp"

namespace shardwise::test {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes(std::vector<int> const& values) {
    Bytes result;
    for (auto const value : values) { result.push_back(static_cast<std::byte>(value)); }
    return result;
}

Bytes random_bytes(std::mt19937& random, std::size_t count) {
    Bytes result(count);
    for (auto& byte : result) { byte = static_cast<std::byte>(random()); }
    return result;
}

/// Targets of several tensors, each with room for what blocks put there.
struct Targets {
    Targets(std::size_t count, std::size_t size) : memory(count, Bytes(size, std::byte{0xEE})) {
        for (auto& tensor : memory) { spans.emplace_back(tensor); }
    }
    std::vector<Bytes> memory;
    std::vector<std::span<std::byte>> spans;
};

constexpr std::size_t kTensorBytes = 1U << 16U;

/// A cast of some type to another, elements in the target side by side or apart.
ElementCast random_cast(std::mt19937& random) {
    static constexpr DType kFrom[] = {DType::f32, DType::f16, DType::bf16, DType::f8_e4m3, DType::f6_e2m3, DType::f4};
    static constexpr DType kTo[] = {DType::f64, DType::f32, DType::bf16, DType::f8_e5m2};
    ElementCast cast = {kFrom[random() % std::size(kFrom)], kTo[random() % std::size(kTo)]};
    if (!cast.is_move()) { cast.target_step = (1 + random() % 2 * 2) * static_cast<std::uint64_t>(bits(cast.to)) / 8; }
    return cast;
}

std::uint64_t elements_of_run(CopyBlock const& block) {
    return block.run_bytes * 8 / static_cast<std::uint64_t>(bits(block.cast.from));
}

/// Bytes of the target from a run's first to its last.
std::uint64_t run_span(CopyBlock const& block) {
    if (block.cast.is_move()) { return block.run_bytes; }
    return (elements_of_run(block) - 1) * block.cast.target_step + static_cast<std::uint64_t>(bits(block.cast.to)) / 8;
}

/// Blocks whose runs come out disjoint in the target: each has a stretch of its own in one of three tensors.
std::vector<CopyBlock> random_blocks(std::mt19937& random, std::size_t source_bytes) {
    static constexpr std::uint64_t kRuns[] = {1, 2, 3, 4, 7, 8, 16, 61};
    std::vector<CopyBlock> blocks;
    std::uint64_t next = random() % 7;
    for (auto count = 1 + random() % 5; count > 0; --count) {
        CopyBlock block;
        block.tensor = static_cast<std::uint32_t>(random() % 3);
        if (random() % 2 == 0) { block.cast = random_cast(random); }
        block.run_bytes = kRuns[random() % std::size(kRuns)] * unit_bytes(block.cast.from);
        if (random() % 8 == 0) { block.run_bytes *= 40; }
        auto source_span = block.run_bytes;
        auto target_span = run_span(block);
        for (auto loops = random() % 4; loops > 0; --loops) {
            CopyLoop const loop = {2 + random() % 4, source_span + random() % 5, target_span + random() % 5};
            block.loops.insert(block.loops.begin(), loop);
            source_span += (loop.count - 1) * loop.source_stride;
            target_span += (loop.count - 1) * loop.target_stride;
        }
        if (source_span > source_bytes || next + target_span > kTensorBytes) { continue; }
        block.source = random() % (source_bytes - source_span + 1);
        block.target = next;
        next += target_span;
        blocks.push_back(block);
    }
    return blocks;
}

TEST(Place, ReferencePutsColumnsOfTwoRowsSideBySide) {
    auto const source = bytes({0, 1, 2, 3, 4, 5, 6, 7});
    Targets targets(2, 6);
    CopyBlock block;
    block.tensor = 1;
    block.source = 1;
    block.target = 1;
    block.run_bytes = 2;
    block.loops = {{2, 4, 3}};
    place_reference(std::vector{block}, source, targets.spans);
    EXPECT_EQ(targets.memory[1], bytes({0xEE, 1, 2, 0xEE, 5, 6}));
    EXPECT_EQ(targets.memory[0], Bytes(6, std::byte{0xEE}));
}

TEST(Place, ReferenceTransposes) {
    auto const source = bytes({0, 1, 2, 3, 4, 5});
    Targets targets(1, 6);
    CopyBlock block;
    block.run_bytes = 1;
    block.loops = {{2, 3, 1}, {3, 1, 2}};
    place_reference(std::vector{block}, source, targets.spans);
    EXPECT_EQ(targets.memory[0], bytes({0, 3, 1, 4, 2, 5}));
}

TEST(Place, ReferenceCastsElementsAndSpreadsThem) {
    auto const source = bytes({0xEE, 0x38, 0x40, 0xEE, 0xB8, 0x00});  // F8_E4M3: 1, 2 and -1, 0
    Targets targets(1, 12);
    CopyBlock block;
    block.source = 1;
    block.target = 2;
    block.run_bytes = 2;
    block.loops = {{2, 3, 2}};
    block.cast = {.from = DType::f8_e4m3, .to = DType::bf16, .target_step = 6};
    place_reference(std::vector{block}, source, targets.spans);
    EXPECT_EQ(targets.memory[0], bytes({0xEE, 0xEE, 0x80, 0x3F, 0x80, 0xBF, 0xEE, 0xEE, 0x00, 0x40, 0x00, 0x00}));
}

TEST(Place, EqualsTheReferenceForAnyBlocks) {
    std::mt19937 random(1);
    auto const source = random_bytes(random, 8192);
    for (int i = 0; i < 600; ++i) {
        auto const blocks = random_blocks(random, source.size());
        Targets expected(3, kTensorBytes);
        Targets placed(3, kTensorBytes);
        place_reference(blocks, source, expected.spans);
        place(blocks, source, placed.spans);
        ASSERT_EQ(placed.memory, expected.memory) << "case " << i;
    }
}

TEST(Place, DequantizesBoxesOfAQuantizedTensorWithTheScalesOfTheirElements) {
    std::mt19937 random(9);
    for (int i = 0; i < 200; ++i) {
        std::uint64_t const rows = 1 + random() % 12;
        std::uint64_t const columns = 2 * (1 + random() % 300);
        auto const grid = block_grid({static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)},
                                     {static_cast<std::int64_t>(rows), 2});
        auto const scales = random_bytes(random, rows * 2);
        auto const source = random_bytes(random, rows * columns);
        std::vector<BlockScaling> const scalings = {{grid, {scales, DType::u8}}};

        auto const first_row = random() % rows;
        auto const first_column = random() % columns;
        CopyBlock block;
        block.source = first_row * columns + first_column;
        block.run_bytes = 1 + random() % (columns - first_column);
        block.cast = {.from = DType::f8_e4m3,
                      .to = DType::bf16,
                      .scaling = 0,
                      .target_step = 2 + random() % 2 * 4,
                      .first_element = block.source};
        auto const row_step = block.run_bytes * block.cast.target_step;
        block.loops = {{rows - first_row, columns, row_step}};
        auto const blocks = std::vector{block};
        Targets expected(1, kTensorBytes);
        Targets placed(1, kTensorBytes);
        Targets unpacked(1, kTensorBytes);
        place_reference(blocks, source, expected.spans, scalings);
        place(blocks, source, placed.spans, scalings);
        ASSERT_EQ(placed.memory, expected.memory) << "case " << i;
        Bytes packed(block.bytes());
        pack(blocks, source, packed);
        unpack(blocks, packed, unpacked.spans, scalings);
        ASSERT_EQ(unpacked.memory, expected.memory) << "case " << i;

        // The element in the middle by itself.
        auto const row = first_row + (rows - first_row) / 2;
        auto const column = first_column + block.run_bytes / 2;
        Bytes element(2);
        dequantize_reference(grid, scalings[0].scales, row * columns + column, DType::f8_e4m3,
                             std::span<std::byte const>(source).subspan(row * columns + column, 1), DType::bf16,
                             element);
        auto const at = (row - first_row) * row_step + (column - first_column) * block.cast.target_step;
        EXPECT_EQ(Bytes(placed.memory[0].begin() + static_cast<std::ptrdiff_t>(at),
                        placed.memory[0].begin() + static_cast<std::ptrdiff_t>(at) + 2),
                  element);
    }
}

TEST(Pack, RunsFollowEachOtherInTheOrderOfTheLoops) {
    auto const source = bytes({0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    CopyBlock two;
    two.source = 1;
    two.run_bytes = 2;
    two.loops = {{2, 5, 0}};
    CopyBlock one;
    one.source = 9;
    one.run_bytes = 1;
    Bytes packed(5);
    pack(std::vector{two, one}, source, packed);
    EXPECT_EQ(packed, bytes({1, 2, 6, 7, 9}));
}

TEST(Unpack, OfWhatWasPackedEqualsPlacing) {
    std::mt19937 random(2);
    auto const source = random_bytes(random, 8192);
    for (int i = 0; i < 300; ++i) {
        auto const blocks = random_blocks(random, source.size());
        std::uint64_t total = 0;
        for (auto const& block : blocks) { total += block.bytes(); }
        Bytes packed(total + 8, std::byte{0xAB});
        pack(blocks, source, packed);
        ASSERT_TRUE(std::all_of(packed.end() - 8, packed.end(), [](std::byte b) { return b == std::byte{0xAB}; }))
            << "wrote past the end";

        Targets expected(3, kTensorBytes);
        Targets unpacked(3, kTensorBytes);
        place_reference(blocks, source, expected.spans);
        unpack(blocks, packed, unpacked.spans);
        ASSERT_EQ(unpacked.memory, expected.memory) << "case " << i;
    }
}

/// Values of the formula in the header, worked out with Python's integers:
///   def f(x):
///       x ^= x >> 33; x = x * 0xFF51AFD7ED558CCD % 2**64; x ^= x >> 33; x = x * 0xC4CEB9FE1A85EC53 % 2**64
///       return x ^ x >> 33
///   def digest(data, unit, first):
///       values = (int.from_bytes(data[i:i + unit], "little") for i in range(0, len(data), unit))
///       return sum(f((first + i + 1) * 0x9E3779B97F4A7C15 % 2**64 ^ v * 0xC2B2AE3D27D4EB4F % 2**64) for i, v in
///       enumerate(values)) % 2**64
struct DigestCase {
    std::size_t count;  ///< of bytes 0, 37, 74, ... modulo 256
    std::size_t unit;
    std::uint64_t first;
    std::uint64_t expected;
};
constexpr DigestCase kDigests[] = {
    {0, 1, 0, 0x0000000000000000},
    {1, 1, 0, 0x9CA066F1A4AB2EEA},
    {7, 1, 5, 0xA770F1AFD04AE6C8},
    {2, 2, 0, 0x884289A3896D236B},
    {300, 2, 12345, 0x725DFDB2F9BF5A6C},
    {4, 4, 0, 0xF6BDBCDBF8FAC50B},
    {400, 4, 7, 0x5343F5F73DA7745C},
    {8, 8, 0, 0x812336B0189DA2C7},
    {800, 8, 1099511627776, 0x57E68FCBABF71998},
    {256, 1, 8589934592, 0x8B9771F249EAEB76},
};

Bytes stepping(std::size_t count) {
    Bytes result(count);
    for (std::size_t i = 0; i < count; ++i) { result[i] = static_cast<std::byte>(37 * i % 256); }
    return result;
}

TEST(PositionDigest, HasTheDocumentedValues) {
    for (auto const& c : kDigests) {
        EXPECT_EQ(position_digest(stepping(c.count), c.unit, c.first), c.expected)
            << c.count << " bytes in units of " << c.unit << " from " << c.first;
    }
}

TEST(PositionDigest, AStepSkipsPositions) {
    std::mt19937 random(5);
    for (std::size_t const unit : {1U, 2U, 4U, 8U}) {
        auto const data = random_bytes(random, unit * 37);
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < 37; ++i) {
            sum += position_digest(std::span<std::byte const>(data).subspan(i * unit, unit), unit, 5 + 1000 * i);
        }
        EXPECT_EQ(position_digest(data, unit, 5, 1000), sum) << "units of " << unit;
    }
}

TEST(PositionDigest, PartsAddUpToTheWhole) {
    std::mt19937 random(3);
    for (std::size_t const unit : {1U, 2U, 4U, 8U}) {
        auto const data = random_bytes(random, unit * 500);
        std::span<std::byte const> const all(data);
        std::uint64_t sum = 0;
        for (std::size_t at = 0; at < 500;) {
            auto const count = std::min<std::size_t>(500 - at, random() % 40);
            sum += position_digest(all.subspan(at * unit, count * unit), unit, at);
            at += count;
        }
        EXPECT_EQ(sum, position_digest(all, unit, 0)) << "units of " << unit;
    }
}

TEST(PositionDigest, SeesElementsThatChangedPlacesOrOneBit) {
    std::mt19937 random(4);
    auto const data = random_bytes(random, 64);
    for (std::size_t const unit : {1U, 2U, 4U, 8U}) {
        auto const whole = position_digest(data, unit, 0);
        auto swapped = data;
        std::swap_ranges(swapped.begin(), swapped.begin() + static_cast<std::ptrdiff_t>(unit),
                         swapped.end() - static_cast<std::ptrdiff_t>(unit));
        EXPECT_NE(position_digest(swapped, unit, 0), whole);
        EXPECT_NE(position_digest(data, unit, 1), whole) << "moved by one";
        for (std::size_t bit = 0; bit < data.size() * 8; ++bit) {
            auto flipped = data;
            flipped[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
            ASSERT_NE(position_digest(flipped, unit, 0), whole) << "bit " << bit << ", units of " << unit;
        }
    }
}

}  // namespace
}  // namespace shardwise::test
