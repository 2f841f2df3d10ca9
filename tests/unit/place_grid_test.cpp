// Placement by descriptors, over an emulated accelerator and a real one where there is one: against the reference and
// the host's pack(), for blocks of every kind.
#include "convert/place_grid.hpp"

#include <algorithm>
#include <numeric>
#include <random>

#include "convert/cast.hpp"
#include "convert/place.hpp"
#include "support/cast_elements.hpp"
#include "support/on_accelerator.hpp"
#include "support/random_blocks.hpp"

namespace shardwise::test {
namespace {

class PlaceGridOn : public OnAccelerator {
   protected:
    /// Launches what is in @p grid.
    void run(PlaceGrid const& grid) { run_place_grid(stream(), upload_values(grid.blocks()), grid.size()); }

    /// Places @p blocks into a copy of @p before and returns what that became.
    Bytes placed(std::vector<CopyBlock> const& blocks, Bytes const& source, Bytes const& before, std::size_t shift = 0,
                 BlockScaling const* scaling = nullptr) {
        auto const* const from = upload(source, shift).data();
        auto const target = upload(before, shift / 2);
        PlaceGrid grid;
        for (auto const& block : blocks) { grid.add_place(block, from, target.data(), scaling); }
        run(grid);
        auto result = download(target);
        forget();
        return result;
    }

    /// @p scaling with its scales in the accelerator's memory.
    BlockScaling uploaded(BlockScaling scaling, std::size_t shift) {
        scaling.scales.bytes = upload(scaling.scales.bytes, shift);
        return scaling;
    }
};

constexpr std::byte kGuard{0xEE};

Bytes placed_by_reference(std::vector<CopyBlock> const& blocks, Bytes const& source, Bytes memory,
                          Scalings scalings = {}) {
    std::span<std::byte> const tensor(memory);
    place_reference(blocks, source, std::span(&tensor, 1), scalings);
    return memory;
}

TEST_P(PlaceGridOn, EqualsTheReferenceForAnyBlocks) {
    std::mt19937 random(1);
    auto const source = random_bytes(random, 1U << 17U);
    for (int i = 0; i < 400; ++i) {
        auto const [blocks, target_bytes] = random_blocks(random, source.size());
        Bytes const before(target_bytes, kGuard);
        ASSERT_EQ(placed(blocks, source, before, random() % 40), placed_by_reference(blocks, source, before))
            << "case " << i;
    }
}

TEST_P(PlaceGridOn, PacksAndUnpacksAsTheHostDoes) {
    std::mt19937 random(2);
    auto const source = random_bytes(random, 1U << 17U);
    for (int i = 0; i < 200; ++i) {
        auto const [blocks, target_bytes] = random_blocks(random, source.size());
        std::uint64_t total = 0;
        for (auto const& block : blocks) { total += block.bytes(); }
        Bytes expected(total + 32, kGuard);
        pack(blocks, source, expected);
        Bytes const before(target_bytes, kGuard);

        auto const* const from = upload(source, random() % 20).data();
        auto const packed = upload(Bytes(total + 32, kGuard), random() % 20);
        auto const target = upload(before, random() % 20);
        PlaceGrid packing;
        PlaceGrid unpacking;
        std::uint64_t at = 0;
        for (auto const& block : blocks) {
            auto const written = packing.add_pack(block, from, packed.data() + at);
            ASSERT_EQ(unpacking.add_unpack(block, packed.data() + at, target.data(), nullptr), written);
            at += written;
        }
        run(packing);
        run(unpacking);
        ASSERT_EQ(download(packed), expected) << "case " << i;
        ASSERT_EQ(download(target), placed_by_reference(blocks, source, before)) << "case " << i;
        forget();
    }
}

TEST_P(PlaceGridOn, CastsEveryPairOfTypes) {
    for (auto const from : kSources) {
        auto const source = elements_to_try(from);
        auto const count = elements_in(from, source.size());
        for (auto const to : kTargets) {
            if (from == to) { continue; }
            auto const element_bytes = static_cast<std::size_t>(bits(to)) / 8;
            CopyBlock block;
            block.run_bytes = source.size();
            block.cast = {.from = from, .to = to, .target_step = element_bytes};
            Bytes expected(count * element_bytes + 16, kGuard);
            cast_reference(from, source, to, expected);
            for (std::size_t const shift : {0, 2, 9}) {
                ASSERT_EQ(placed({block}, source, Bytes(expected.size(), kGuard), shift), expected)
                    << to_string(from) << " to " << to_string(to) << ", " << shift << " bytes past a page";
            }
        }
    }
}

/// A matrix of @p rows x @p columns elements whose columns become rows.
CopyBlock transposed(std::uint64_t rows, std::uint64_t columns, std::uint64_t element_bytes) {
    CopyBlock block;
    block.run_bytes = element_bytes;
    block.loops = {{rows, columns * element_bytes, element_bytes}, {columns, element_bytes, rows * element_bytes}};
    return block;
}

TEST_P(PlaceGridOn, TransposesWhateverTheTilesCutOff) {
    std::mt19937 random(3);
    for (std::uint64_t const element_bytes : {1, 2, 4, 8, 16}) {
        for (std::uint64_t const rows : {16, 31, 64, 130}) {
            for (std::uint64_t const columns : {16, 33, 65, 200}) {
                auto const source = random_bytes(random, rows * columns * element_bytes);
                auto const blocks = std::vector{transposed(rows, columns, element_bytes)};
                Bytes const before(source.size() + 8, kGuard);
                ASSERT_EQ(placed(blocks, source, before), placed_by_reference(blocks, source, before))
                    << rows << " x " << columns << " of " << element_bytes << " B";
            }
        }
    }
}

TEST_P(PlaceGridOn, TransposesUnderLoopsWhatItCasts) {
    std::mt19937 random(4);
    static constexpr DType kFrom[] = {DType::f32, DType::bf16, DType::f8_e4m3, DType::f4, DType::f6_e2m3, DType::f64};
    for (auto const from : kFrom) {
        for (auto const to : {DType::f64, DType::f32, DType::f16, DType::f8_e5m2}) {
            if (from == to) { continue; }
            std::uint64_t const columns = 4 * (4 + random() % 30);
            std::uint64_t const rows = 16 + random() % 60;
            auto const element_bytes = static_cast<std::uint64_t>(bits(to)) / 8;
            CopyBlock block;
            block.run_bytes = columns * static_cast<std::uint64_t>(bits(from)) / 8;
            block.cast = {.from = from, .to = to, .target_step = rows * element_bytes};
            block.loops = {{3, rows * block.run_bytes, rows * columns * element_bytes + 8 * (random() % 2)},
                           {rows, block.run_bytes, element_bytes}};
            auto const source = random_bytes(random, block.bytes());
            Bytes const before(block.target_bytes() + 32, kGuard);
            auto const blocks = std::vector{block};
            ASSERT_EQ(placed(blocks, source, before, random() % 3 * 8), placed_by_reference(blocks, source, before))
                << to_string(from) << " to " << to_string(to);
        }
    }
}

/// Codes, their scales, and a box of them that is placed.
struct ScaledBox {
    Bytes codes;
    Bytes scales;
    BlockScaling scaling;
    CopyBlock block;
    std::size_t target_bytes = 0;
};

ScaledBox random_box(std::mt19937& random) {
    static constexpr DType kCodes[] = {DType::f8_e4m3, DType::f8_e5m2, DType::f4, DType::f8_e4m3fnuz, DType::f6_e3m2};
    static constexpr DType kScales[] = {DType::f32, DType::bf16, DType::f16, DType::f8_e8m0, DType::u8};
    static constexpr DType kNumbers[] = {DType::f32, DType::bf16, DType::f16};
    auto const from = kCodes[random() % std::size(kCodes)];
    auto const to = kNumbers[random() % std::size(kNumbers)];
    auto const unit = static_cast<std::int64_t>(unit_bytes(from)) * 8 / bits(from);
    auto const block_columns = unit * static_cast<std::int64_t>(1 + random() % 40);
    auto const grid_columns = static_cast<std::int64_t>(1 + random() % 6);
    auto const grid_rows = static_cast<std::int64_t>(1 + random() % 4);
    bool const is_short = random() % 3 == 0;  // the last blocks
    auto const block_rows = static_cast<std::int64_t>(1 + random() % 9);
    auto const rows = grid_rows * block_rows - (is_short ? static_cast<std::int64_t>(random()) % block_rows : 0);
    auto const experts = is_short ? 1 : static_cast<std::int64_t>(1 + random() % 3);
    Shape const scale_shape =
        random() % 2 == 0 ? Shape{grid_rows, grid_columns} : Shape{experts, grid_rows, grid_columns};
    auto const short_columns = is_short ? static_cast<std::int64_t>(random()) % (block_columns / unit) * unit : 0;
    auto const columns = grid_columns * block_columns - short_columns;

    ScaledBox box;
    auto const scale_type = kScales[random() % std::size(kScales)];
    box.scales = random_bytes(random, static_cast<std::size_t>(scale_shape.num_elements() * bits(scale_type) / 8));
    box.codes = random_bytes(random, static_cast<std::size_t>(experts * rows * columns * bits(from) / 8));
    box.scaling = {block_grid({experts, rows, columns}, scale_shape, BlockSize{block_rows, block_columns}),
                   {box.scales, scale_type}};

    auto const bytes_of_columns = [&](std::int64_t count) {
        return static_cast<std::uint64_t>(count * bits(from) / 8);
    };
    auto const first_column = static_cast<std::int64_t>(random()) % (columns / unit) * unit;
    auto const column_count = (1 + static_cast<std::int64_t>(random()) % ((columns - first_column) / unit)) * unit;
    auto const first_row = static_cast<std::uint64_t>(static_cast<std::int64_t>(random()) % rows);
    auto const row_count = static_cast<std::uint64_t>(rows) - first_row;
    auto const row_bytes = bytes_of_columns(columns);
    auto const to_bytes = static_cast<std::uint64_t>(bits(to)) / 8;
    auto& block = box.block;
    block.source = first_row * row_bytes + bytes_of_columns(first_column);
    block.run_bytes = bytes_of_columns(column_count);
    bool const is_transposed = random() % 2 == 0;
    auto const gap = random() % 3 * to_bytes;
    auto const count = static_cast<std::uint64_t>(column_count);
    auto const step = is_transposed ? row_count * to_bytes + gap : to_bytes * (1 + random() % 4 / 3);
    auto const row_step = is_transposed ? to_bytes : count * step + gap;
    auto const expert_step = (is_transposed ? count * step : row_count * row_step) + gap;
    auto const first = first_row * static_cast<std::uint64_t>(columns) + static_cast<std::uint64_t>(first_column);
    block.cast = {.from = from, .to = to, .scaling = 0, .target_step = step, .first_element = first};
    block.loops = {{static_cast<std::uint64_t>(experts), static_cast<std::uint64_t>(rows) * row_bytes, expert_step},
                   {row_count, row_bytes, row_step}};
    box.target_bytes = static_cast<std::uint64_t>(experts) * expert_step + 8;
    return box;
}

TEST_P(PlaceGridOn, DequantizesAnyBoxWithTheScalesOfItsElements) {
    std::mt19937 random(5);
    for (int i = 0; i < 600; ++i) {
        auto const box = random_box(random);
        Bytes const before(box.target_bytes, kGuard);
        auto const expected = placed_by_reference({box.block}, box.codes, before, std::span(&box.scaling, 1));
        auto const scaling = uploaded(box.scaling, random() % 5);
        auto const* const source = upload(box.codes, random() % 20).data();
        Bytes packed(box.block.bytes());
        pack(std::span(&box.block, 1), box.codes, packed);
        auto const* const from_wire = upload(packed, random() % 20).data();
        auto const target = upload(before, random() % 2 * 4);
        auto const unpacked = upload(before, random() % 20);
        PlaceGrid grid;
        grid.add_place(box.block, source, target.data(), &scaling);
        EXPECT_EQ(grid.add_unpack(box.block, from_wire, unpacked.data(), &scaling), packed.size());
        run(grid);
        ASSERT_EQ(download(target), expected) << "case " << i;
        ASSERT_EQ(download(unpacked), expected) << "case " << i;
        forget();
    }
}

TEST_P(PlaceGridOn, KeepsThousandsOfTinyBlocksApart) {
    std::mt19937 random(6);
    auto const source = random_bytes(random, 1U << 16U);
    std::vector<CopyBlock> blocks;
    std::uint64_t next = 0;
    for (int i = 0; i < 5000; ++i) {
        CopyBlock block;
        block.run_bytes = 1 + random() % 40;
        block.source = random() % (source.size() - block.run_bytes);
        block.target = next;
        next += block.run_bytes + random() % 3;
        blocks.push_back(block);
    }
    Bytes const before(next, kGuard);
    EXPECT_EQ(placed(blocks, source, before), placed_by_reference(blocks, source, before));
}

TEST_P(PlaceGridOn, MovesMebibytesBetweenAnyAddresses) {
    std::mt19937 random(7);
    auto const source = random_bytes(random, (3U << 20U) + 100);
    for (std::uint64_t const from : {0, 1, 2, 7, 8, 12}) {
        for (std::uint64_t const to : {0, 3, 8, 13}) {
            CopyBlock block;
            block.source = from;
            block.target = to;
            block.run_bytes = source.size() - 13 - random() % 20;
            Bytes const before(source.size() + 16, kGuard);
            ASSERT_EQ(placed({block}, source, before), placed_by_reference({block}, source, before))
                << from << " to " << to;
        }
    }
}

TEST_P(PlaceGridOn, HasNothingToDoForNothing) {
    PlaceGrid grid;
    CopyBlock empty;
    empty.loops = {{3, 10, 10}};
    CopyBlock none;
    none.run_bytes = 4;
    none.loops = {{0, 10, 10}, {2, 4, 4}};
    grid.add_place(empty, nullptr, nullptr, nullptr);
    EXPECT_EQ(grid.add_pack(none, nullptr, nullptr), 0U);
    EXPECT_TRUE(grid.blocks().empty());
    EXPECT_EQ(grid.tiles(), 0U);
    run_place_grid(stream(), nullptr, grid.size());
    finish(stream());
}

INSTANTIATE_TEST_SUITE_P(Any, PlaceGridOn, accelerators(), accelerator_name);

// Memory that ends where the data does, so that a sanitizer sees what is read or written beside it.
TEST(PlaceGrid, TouchesNothingBesideTheRuns) {
    std::mt19937 random(8);
    auto const accelerator = emulated();
    auto const stream = accelerator->make_stream();
    for (int i = 0; i < 300; ++i) {
        CopyBlock block;
        block.run_bytes = random() % 2 == 0 ? 1 + random() % 2000 : 256 + random() % 8;
        block.source = random() % 20;
        block.target = random() % 20;
        if (random() % 3 == 0) {
            block.run_bytes = 8 * (1 + random() % 40);
            block.cast = {.from = DType::f16, .to = DType::f32, .target_step = 4};
        }
        auto const source = random_bytes(random, block.source + block.run_bytes);
        Bytes target(block.target + block.target_bytes(), kGuard);
        auto const expected = placed_by_reference({block}, source, target);
        PlaceGrid grid;
        grid.add_place(block, source.data(), target.data(), nullptr);
        run_place_grid(*stream, grid.blocks().data(), grid.size());
        finish(*stream);
        ASSERT_EQ(target, expected) << "case " << i;
    }
}

}  // namespace
}  // namespace shardwise::test
