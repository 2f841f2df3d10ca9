// What single steps cost, each beside what it is measured against: headers, planning, placement, conversions.
//
//     micro_benchmarks --benchmark_filter=cast        memory moved a second, of bytes read and written
//     micro_benchmarks --benchmark_filter=plan        stored tensors a second
//
// References are the plain loops that tests compare the kernels with. Memory is more than caches hold.
#include <cstddef>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/plan.hpp>

#include "catalog/safetensors.hpp"
#include "convert/block_scale.hpp"
#include "convert/cast.hpp"
#include "convert/place.hpp"
#include "mapping/parameters.hpp"
#include "model_shapes.hpp"
#include "plan/mapping_options.hpp"
#include "plan/planner.hpp"
#include "sink/safetensors_writer.hpp"

namespace {

using namespace shardwise;
using namespace shardwise::bench;
using benchmark::State;

constexpr std::size_t kColumns = 4096;
constexpr std::size_t kRows = 8192;
constexpr std::size_t kElements = kRows * kColumns;
constexpr std::size_t kReferenceElements = kElements / 64;

std::size_t bytes_of(DType dtype, std::size_t elements) {
    return elements * static_cast<std::size_t>(bits(dtype)) / 8;
}

struct Memory {
    std::vector<float> values = std::vector<float>(kElements);
    std::vector<std::byte> target = std::vector<std::byte>(kElements * 4);
    std::span<std::byte const> source() const { return std::as_bytes(std::span(values)); }
};

/// Numbers as weights are.
Memory& memory() {
    static Memory shared = [] {
        Memory made;
        std::mt19937 random(1);
        std::normal_distribution<float> normal;
        for (auto& value : made.values) { value = normal(random); }
        return made;
    }();
    return shared;
}

/// Runs @p work over and over; each time it reads and writes @p moved bytes.
template <class Work>
void measure_bytes(State& state, std::size_t moved, Work work) {
    for (auto _ : state) {
        work();
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * moved));
}

// --- headers and planning ---

ModelSizes mixture_of(std::int64_t tensors) {
    ModelSizes sizes;
    sizes.model_type = "qwen3_moe";
    sizes.experts = 128;
    sizes.layers = std::max<std::int64_t>(1, tensors / (3 * sizes.experts + 9));
    return sizes;
}

std::uint64_t size_of(ModelTensor const& tensor) {
    return static_cast<std::uint64_t>(tensor.shape.num_elements()) * 2;
}

void parse_header(State& state) {
    auto const tensors = tensors_of(mixture_of(state.range(0)));
    std::vector<TensorEntry> entries;
    std::uint64_t data_bytes = 0;
    for (auto const& tensor : tensors) {
        entries.push_back({tensor.name, DType::bf16, tensor.shape, size_of(tensor)});
        data_bytes += size_of(tensor);
    }
    auto const header = safetensors_header(entries, {}, 8);
    auto const json = header.substr(kLengthBytes);
    for (auto _ : state) { benchmark::DoNotOptimize(parse_safetensors_header(json, header.size() + data_bytes)); }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * entries.size()));
}

struct Mixture {
    explicit Mixture(std::int64_t tensors)
        : sizes(mixture_of(tensors)), catalog(parts()), architecture(Architecture::for_config(catalog.config_json())) {
        options.mesh.tp = 8;
    }

    Catalog::Parts parts() const {
        Catalog::Parts made;
        made.config_json = config_of(sizes, "bfloat16");
        std::uint64_t at = 4096;
        for (auto const& tensor : tensors_of(sizes)) {
            made.tensors.push_back({tensor.name, DType::bf16, tensor.shape, 0, at, size_of(tensor)});
            at += size_of(tensor);
        }
        made.files.push_back({"model.safetensors", at, 4096});
        return made;
    }

    ModelSizes sizes;
    Catalog catalog;
    Architecture architecture;
    PlanOptions options;
};

void map_names(State& state) {
    Mixture const mixture(state.range(0));
    for (auto _ : state) {
        benchmark::DoNotOptimize(
            map_parameters(mixture.catalog, mixture.architecture, mapping_options(mixture.options)));
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * mixture.catalog.tensors().size()));
}

void plan_rank(State& state, StrategyChoice strategy) {
    Mixture mixture(state.range(0));
    mixture.options.strategy = strategy;
    auto const parameters = map_parameters(mixture.catalog, mixture.architecture, mapping_options(mixture.options));
    for (auto _ : state) { benchmark::DoNotOptimize(plan_parameters(mixture.catalog, parameters, mixture.options, 3)); }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * mixture.catalog.tensors().size()));
}

// --- placement ---

/// @p run bytes of every two: a cut along columns.
void place_runs(State& state) {
    auto const run = static_cast<std::uint64_t>(state.range(0));
    CopyBlock block;
    block.run_bytes = run;
    auto const count = memory().source().size() / (2 * run);
    block.loops.push_back({count, 2 * run, run});
    std::span<std::byte> target = memory().target;
    measure_bytes(state, 2 * run * count, [&] { place({&block, 1}, memory().source(), {&target, 1}); });
}

/// Rows and columns of 2-byte elements change places.
void place_transposed(State& state) {
    CopyBlock block;
    block.run_bytes = 2;
    block.loops.push_back({kRows, kColumns * 2, 2});
    block.loops.push_back({kColumns, 2, kRows * 2});
    std::span<std::byte> target = memory().target;
    measure_bytes(state, 4 * kElements, [&] { place({&block, 1}, memory().source(), {&target, 1}); });
}

// --- conversions ---

using Cast = void (*)(DType, std::span<std::byte const>, DType, std::span<std::byte>);

void convert(State& state, Cast kernel, std::size_t elements, DType from, DType to) {
    auto const source = memory().source().first(bytes_of(from, elements));
    auto const target = std::span(memory().target).first(bytes_of(to, elements));
    measure_bytes(state, source.size() + target.size(), [&] { kernel(from, source, to, target); });
}

template <class Kernel>
void dequantize_blocks(State& state, Kernel kernel, std::size_t elements, DType from, DType scale, Shape const& block) {
    Shape const shape = {kRows, kColumns};
    Shape const grid_shape = {shape[0] / block[0], shape[1] / block[1]};
    auto const grid = block_grid(shape, grid_shape);
    std::vector<std::byte> const scales(bytes_of(scale, static_cast<std::size_t>(grid_shape.num_elements())),
                                        std::byte{0x3F});
    auto const source = memory().source().first(bytes_of(from, elements));
    auto const target = std::span(memory().target).first(bytes_of(DType::bf16, elements));
    measure_bytes(state, source.size() + target.size(), [&] {
        kernel(grid, {scales, scale}, 0, from, source, DType::bf16, target);
    });
}

template <class Kernel>
void quantize_blocks(State& state, Kernel kernel, std::size_t rows) {
    std::vector<std::byte> codes(kElements);
    std::vector<std::byte> scales(kElements);
    QuantizeShape const shape = {rows, kColumns, 128, 128};
    auto const part = std::span<float const>(memory().values).first(rows * kColumns);
    measure_bytes(state, rows * kColumns * 5, [&] { kernel(shape, part, ScaleFormat::f32, codes, scales); });
}

void register_conversions() {
    auto const add = [](std::string const& name, auto work) {
        benchmark::RegisterBenchmark(name.c_str(), work)->Unit(benchmark::kMillisecond);
    };
    for (auto const& [from, to] :
         {std::pair(DType::f32, DType::bf16), std::pair(DType::f32, DType::f16), std::pair(DType::f32, DType::f8_e4m3),
          std::pair(DType::bf16, DType::f32), std::pair(DType::bf16, DType::f16), std::pair(DType::f16, DType::f32),
          std::pair(DType::f16, DType::bf16), std::pair(DType::f8_e4m3, DType::bf16)}) {
        auto const name = fmt::format("{}_to_{}", to_string(from), to_string(to));
        add("cast/" + name, [=](State& state) { convert(state, cast, kElements, from, to); });
        add("cast_reference/" + name,
            [=](State& state) { convert(state, cast_reference, kReferenceElements, from, to); });
    }
    for (auto const& [from, scale, block] : {std::tuple(DType::f8_e4m3, DType::f32, Shape{128, 128}),
                                             std::tuple(DType::f4, DType::f8_e8m0, Shape{1, 32})}) {
        auto const name = fmt::format("{}_{}x{}", to_string(from), block[0], block[1]);
        add("dequantize/" + name,
            [=](State& state) { dequantize_blocks(state, dequantize, kElements, from, scale, block); });
        add("dequantize_reference/" + name, [=](State& state) {
            dequantize_blocks(state, dequantize_reference, kReferenceElements, from, scale, block);
        });
    }
    add("quantize/F8_E4M3_128x128", [](State& state) { quantize_blocks(state, quantize_fp8, kRows); });
    add("quantize_reference/F8_E4M3_128x128",
        [](State& state) { quantize_blocks(state, quantize_fp8_reference, 128); });
}

void copy_memory(State& state) {
    auto const source = memory().source();
    measure_bytes(state, 2 * source.size(), [&] { std::memcpy(memory().target.data(), source.data(), source.size()); });
}

BENCHMARK(parse_header)->Arg(1000)->Arg(100'000)->Unit(benchmark::kMillisecond);
BENCHMARK(map_names)->Arg(1000)->Arg(100'000)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan_rank, direct, StrategyChoice::direct)->Arg(1000)->Arg(100'000)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan_rank, cooperative, StrategyChoice::cooperative)
    ->Arg(1000)
    ->Arg(100'000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(copy_memory)->Unit(benchmark::kMillisecond);
BENCHMARK(place_runs)->Arg(64)->Arg(2048)->Arg(1 << 20)->Unit(benchmark::kMillisecond);
BENCHMARK(place_transposed)->Unit(benchmark::kMillisecond);

}  // namespace

int main(int count, char** values) {
    register_conversions();
    benchmark::Initialize(&count, values);
    if (benchmark::ReportUnrecognizedArguments(count, values)) { return 2; }
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
