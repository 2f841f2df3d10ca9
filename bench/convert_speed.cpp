// How fast values are converted: the fast kernels beside the reference and beside memcpy, in GB/s of bytes read and
// written. Best of several rounds over memory that no cache holds.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <random>
#include <vector>

#include <fmt/format.h>

#include "convert/block_scale.hpp"
#include "convert/cast.hpp"

namespace {

using namespace shardwise;

constexpr std::size_t kColumns = 4096;
constexpr std::size_t kRows = 8192;
constexpr std::size_t kElements = kRows * kColumns;
constexpr std::size_t kReferenceElements = kElements / 64;
constexpr int kRounds = 5;

/// Seconds of the fastest round.
template <class Work>
double best_seconds(Work work) {
    double best = 1e9;
    for (int round = 0; round < kRounds; ++round) {
        auto const begin = std::chrono::steady_clock::now();
        work();
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return best;
}

std::size_t bytes_of(DType dtype, std::size_t elements) {
    return elements * static_cast<std::size_t>(bits(dtype)) / 8;
}

void tell(std::string const& what, double moved, double seconds, double reference_moved, double reference_seconds) {
    fmt::print("{:<34}{:>9.2f}{:>12.3f}\n", what, moved / seconds / 1e9, reference_moved / reference_seconds / 1e9);
}

struct Memory {
    std::vector<std::byte> source = std::vector<std::byte>(kElements * 4);
    std::vector<std::byte> target = std::vector<std::byte>(kElements * 4);
};

void measure_cast(Memory& memory, DType from, DType to) {
    auto const run = [&](auto kernel, std::size_t elements) {
        auto const source = std::span(memory.source).first(bytes_of(from, elements));
        auto const target = std::span(memory.target).first(bytes_of(to, elements));
        return best_seconds([&] { kernel(from, source, to, target); });
    };
    auto const moved = [&](std::size_t elements) {
        return static_cast<double>(bytes_of(from, elements) + bytes_of(to, elements));
    };
    tell(fmt::format("cast {} to {}", to_string(from), to_string(to)), moved(kElements), run(cast, kElements),
         moved(kReferenceElements), run(cast_reference, kReferenceElements));
}

void measure_dequantize(Memory& memory, DType from, DType scale, std::int64_t block_rows, std::int64_t block_columns) {
    Shape const shape = {kRows, kColumns};
    Shape const grid_shape = {shape[0] / block_rows, shape[1] / block_columns};
    auto const grid = block_grid(shape, grid_shape);
    std::vector<std::byte> const scales(bytes_of(scale, static_cast<std::size_t>(grid_shape.num_elements())),
                                        std::byte{0x3F});
    auto const run = [&](auto kernel, std::size_t elements) {
        auto const source = std::span(memory.source).first(bytes_of(from, elements));
        auto const target = std::span(memory.target).first(bytes_of(DType::bf16, elements));
        return best_seconds([&] { kernel(grid, {scales, scale}, 0, from, source, DType::bf16, target); });
    };
    auto const moved = [&](std::size_t elements) {
        return static_cast<double>(bytes_of(from, elements) + bytes_of(DType::bf16, elements));
    };
    tell(fmt::format("dequantize {} {}x{} to BF16", to_string(from), block_rows, block_columns), moved(kElements),
         run(dequantize, kElements), moved(kReferenceElements), run(dequantize_reference, kReferenceElements));
}

void measure_quantize(std::vector<float> const& values) {
    std::vector<std::byte> codes(values.size());
    std::vector<std::byte> scales(values.size());
    auto const run = [&](auto kernel, std::size_t rows) {
        QuantizeShape const shape = {rows, kColumns, 128, 128};
        auto const part = std::span(values).first(rows * kColumns);
        return best_seconds([&] { kernel(shape, part, ScaleFormat::f32, codes, scales); });
    };
    auto const moved = [](std::size_t rows) { return static_cast<double>(rows * kColumns * 5); };
    tell("quantize F32 128x128 to F8_E4M3", moved(kRows), run(quantize_fp8, kRows), moved(128),
         run(quantize_fp8_reference, 128));
}

}  // namespace

int main() {
    Memory memory;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> values(kElements);
    for (auto& value : values) { value = normal(random); }
    std::memcpy(memory.source.data(), values.data(), memory.source.size());

    fmt::print("{:<34}{:>9}{:>12}\n", "GB/s", "fast", "reference");
    auto const copied = static_cast<double>(memory.source.size());
    auto const seconds =
        best_seconds([&] { std::memcpy(memory.target.data(), memory.source.data(), memory.source.size()); });
    fmt::print("{:<34}{:>9.2f}\n", "memcpy", 2 * copied / seconds / 1e9);
    for (auto const to : {DType::bf16, DType::f16, DType::f8_e4m3}) { measure_cast(memory, DType::f32, to); }
    for (auto const to : {DType::f32, DType::f16}) { measure_cast(memory, DType::bf16, to); }
    for (auto const to : {DType::f32, DType::bf16}) { measure_cast(memory, DType::f16, to); }
    measure_cast(memory, DType::f8_e4m3, DType::bf16);
    measure_dequantize(memory, DType::f8_e4m3, DType::f32, 128, 128);
    measure_dequantize(memory, DType::f4, DType::f8_e8m0, 1, 32);
    measure_quantize(values);
}
