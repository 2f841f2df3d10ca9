// Digests by descriptors, over an emulated accelerator and a real one where there is one: equal to the host's.
#include "convert/digest_grid.hpp"

#include <random>

#include "convert/position_digest.hpp"
#include "convert/runs.hpp"
#include "support/cast_elements.hpp"
#include "support/on_accelerator.hpp"
#include "support/random_blocks.hpp"

namespace shardwise::test {
namespace {

class DigestGridOn : public OnAccelerator {
   protected:
    std::vector<std::uint64_t> digests(DigestGrid const& grid, std::size_t count) {
        auto const sums = upload(Bytes(count * 8, std::byte{0x77}));
        auto* const first = reinterpret_cast<std::uint64_t*>(sums.data());
        run_digest_grid(stream(), upload_values(grid.blocks()), grid.size(), {first, count});
        auto const bytes = download(sums);
        std::vector<std::uint64_t> result(count);
        std::memcpy(result.data(), bytes.data(), bytes.size());
        return result;
    }
};

/// A block of whole units, not cast.
CopyBlock random_units(std::mt19937& random, std::uint32_t unit, std::size_t bytes) {
    auto block = random_block(random, bytes / unit);
    block.cast = {};
    block.run_bytes *= unit;
    auto span = block.run_bytes;
    for (auto loop = block.loops.rbegin(); loop != block.loops.rend(); ++loop) {
        loop->target_stride = span + random() % 2 * unit;
        loop->source_stride = span * (1 + random() % 2) + (random() % (1ULL << 33U)) * unit;
        span += (loop->count - 1) * loop->target_stride;
    }
    block.source = (random() % (1ULL << 34U)) * unit;
    return block;
}

std::uint64_t digest_of(CopyBlock const& block, std::uint32_t unit, std::span<std::byte const> local) {
    std::uint64_t digest = 0;
    for_each_run(block, [&](std::uint64_t source, std::uint64_t target, std::uint64_t size) {
        digest += position_digest(local.subspan(target, size), unit, source / unit);
    });
    return digest;
}

TEST_P(DigestGridOn, EqualsTheHostsForPartsOfManyTensors) {
    std::mt19937 random(1);
    auto const local = random_bytes(random, 1U << 21U);
    for (int i = 0; i < 60; ++i) {
        constexpr std::size_t kTensors = 5;
        auto const shift = random() % 20;
        auto const* const held = upload(local, shift).data();
        std::vector<std::uint64_t> expected(kTensors, 0);
        DigestGrid grid;
        for (auto parts = random() % 12; parts > 0; --parts) {
            auto const unit = 1U << random() % 4;
            auto block = random_units(random, unit, 1U << 17U);
            block.target = random() % 40;
            std::uint64_t span = block.target + block.run_bytes;
            for (auto const& loop : block.loops) { span += (loop.count - 1) * loop.target_stride; }
            if (span > local.size()) { continue; }
            auto const tensor = static_cast<std::uint32_t>(random() % (kTensors - 1));  // the last one has no part
            grid.add({block, unit, held, tensor});
            expected[tensor] += digest_of(block, unit, local);
        }
        ASSERT_EQ(digests(grid, kTensors), expected) << "case " << i;
        forget();
    }
}

TEST_P(DigestGridOn, CountsPositionsBeyondThirtyTwoBits) {
    std::mt19937 random(2);
    auto const local = random_bytes(random, 3000);
    CopyBlock block;
    block.source = 7ULL << 40U;
    block.run_bytes = local.size();
    DigestGrid grid;
    grid.add({block, 1, upload(local).data(), 0});
    EXPECT_EQ(digests(grid, 1)[0], position_digest(local, 1, block.source));
}

INSTANTIATE_TEST_SUITE_P(Any, DigestGridOn, accelerators(), accelerator_name);

}  // namespace
}  // namespace shardwise::test
