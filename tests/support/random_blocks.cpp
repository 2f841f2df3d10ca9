#include "support/random_blocks.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>

namespace shardwise::test {
namespace {

/// A cast of some type to another, or none.
ElementCast random_cast(std::mt19937& random) {
    static constexpr DType kFrom[] = {DType::f64,     DType::f32,     DType::f16, DType::bf16,
                                      DType::f8_e4m3, DType::f6_e2m3, DType::f4};
    static constexpr DType kTo[] = {DType::f64, DType::f32, DType::bf16, DType::f8_e5m2};
    if (random() % 2 == 0) { return {}; }
    return {kFrom[random() % std::size(kFrom)], kTo[random() % std::size(kTo)]};
}

std::uint64_t random_run(std::mt19937& random) {
    static constexpr std::uint64_t kRuns[] = {1, 1, 1, 2, 3, 4, 7, 8, 16, 61, 300, 4096};
    return kRuns[random() % std::size(kRuns)];
}

std::uint64_t random_count(std::mt19937& random) {
    return random() % 3 == 0 ? 16 + random() % 60 : 1 + random() % 5;
}

/// Nothing, or whole multiples of @p unit, or any number.
std::uint64_t random_gap(std::mt19937& random, std::uint64_t unit) {
    if (random() % 2 == 0) { return 0; }
    return random() % 3 * (random() % 2 == 0 ? unit : 1);
}

std::uint64_t elements_of_run(CopyBlock const& block) {
    return block.cast.is_move() ? 1 : block.run_bytes * 8 / static_cast<std::uint64_t>(bits(block.cast.from));
}

std::uint64_t element_bytes(CopyBlock const& block) {
    return block.cast.is_move() ? block.run_bytes : static_cast<std::uint64_t>(bits(block.cast.to)) / 8;
}

/// Sets target strides so that loops are nested in any order in the target; the elements of a cast run are one of them.
void spread_in_target(std::mt19937& random, CopyBlock& block) {
    std::vector<std::size_t> order(block.loops.size() + 1);  // innermost first; the last number is the run
    std::iota(order.begin(), order.end(), 0U);
    std::reverse(order.begin(), order.end());
    if (random() % 2 == 0) { std::shuffle(order.begin(), order.end(), random); }
    auto span = element_bytes(block);
    for (auto const level : order) {
        auto const stride = span + random_gap(random, element_bytes(block));
        bool const is_run = level == block.loops.size();
        auto const count = is_run ? elements_of_run(block) : block.loops[level].count;
        (is_run ? block.cast.target_step : block.loops[level].target_stride) = stride;
        span += (count - 1) * stride;
    }
    if (block.cast.is_move()) { block.cast.target_step = 0; }
}

}  // namespace

std::vector<std::byte> random_bytes(std::mt19937& random, std::size_t count) {
    std::vector<std::byte> result(count);
    for (auto& byte : result) { byte = static_cast<std::byte>(random()); }
    return result;
}

std::uint64_t target_span(CopyBlock const& block) {
    auto span = element_bytes(block) + (elements_of_run(block) - 1) * block.cast.target_step;
    for (auto const& loop : block.loops) { span += (loop.count - 1) * loop.target_stride; }
    return span;
}

CopyBlock random_block(std::mt19937& random, std::size_t source_bytes) {
    CopyBlock block;
    block.cast = random_cast(random);
    auto const unit = block.cast.is_move() ? 1 : unit_bytes(block.cast.from);
    block.run_bytes = random_run(random) * unit;
    auto span = block.run_bytes;
    for (auto loops = random() % 8; loops > 0; --loops) {
        auto const stride = span + random_gap(random, 16);
        auto const count = std::min<std::uint64_t>(random_count(random), 1 + (source_bytes / 4 - span) / stride);
        block.loops.insert(block.loops.begin(), {count, stride, 0});
        span += (count - 1) * stride;
    }
    spread_in_target(random, block);
    return block;
}

RandomBlocks random_blocks(std::mt19937& random, std::size_t source_bytes) {
    RandomBlocks result;
    result.target_bytes = random() % 9;
    for (auto count = 1 + random() % 5; count > 0; --count) {
        auto block = random_block(random, source_bytes);
        block.source = random() % (source_bytes - block.source_span() + 1);
        block.target = result.target_bytes;
        result.target_bytes += target_span(block) + random() % 9;
        result.blocks.push_back(block);
    }
    result.target_bytes += 16;
    return result;
}

}  // namespace shardwise::test
