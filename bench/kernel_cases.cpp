#include "kernel_cases.hpp"

#include <cstring>
#include <optional>
#include <random>
#include <span>

#include <fmt/format.h>

#include "convert/block_scale.hpp"
#include "convert/cast.hpp"
#include "convert/digest_grid.hpp"
#include "convert/place.hpp"
#include "convert/place_grid.hpp"
#include "convert/position_digest.hpp"
#include "convert/quantize_grid.hpp"
#include "desk.hpp"

namespace shardwise::bench {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

/// Numbers of about 1: every type that is cast from takes them.
Bytes numbers(DType dtype, std::uint64_t bytes) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    auto const count = bytes * 8 / static_cast<std::uint64_t>(bits(dtype));
    std::vector<float> few(std::min<std::uint64_t>(count, 1U << 16U));
    for (auto& value : few) { value = normal(random); }
    Bytes some(few.size() * static_cast<std::uint64_t>(bits(dtype)) / 8);
    cast(DType::f32, std::as_bytes(std::span(few)), dtype, some);
    Bytes all(bytes);
    for (std::uint64_t at = 0; at < bytes; at += some.size()) {
        std::memcpy(all.data() + at, some.data(), std::min<std::uint64_t>(some.size(), bytes - at));
    }
    return all;
}

/// Scales of MXFP4 from 2^-17 to 2^14: no product with a code leaves BF16.
Bytes any_powers(std::uint64_t count) {
    auto bytes = any_bytes(count);
    for (auto& byte : bytes) { byte = static_cast<std::byte>(110 + (std::to_integer<int>(byte) & 31)); }
    return bytes;
}

struct Placement {
    std::vector<CopyBlock> blocks;
    Bytes source;
    std::uint64_t target_bytes = 0;
    std::optional<BlockScaling> scaling = {};  ///< with scales of the host
    Bytes scales = {};
};

std::uint64_t moved_by(std::vector<CopyBlock> const& blocks) {
    std::uint64_t moved = 0;
    for (auto const& block : blocks) { moved += block.bytes() + block.target_bytes(); }
    return moved;
}

KernelCase place_case(Desk const& desk, std::string name, Placement placement) {
    auto const source = desk.upload(placement.source);
    auto const target = desk.accelerator.allocate(placement.target_bytes);
    auto const scales = placement.scaling ? desk.upload(placement.scales) : Memory();
    auto scaling = placement.scaling;
    if (scaling) { scaling->scales.bytes = scales.bytes(); }
    PlaceGrid grid;
    for (auto const& block : placement.blocks) {
        grid.add_place(block, source.bytes().data(), target.bytes().data(), scaling ? &*scaling : nullptr);
    }
    auto const descriptors = desk.upload(grid.bytes());
    auto const size = grid.size();
    KernelCase result{std::move(name), moved_by(placement.blocks)};
    result.results = {target};
    result.run = [desk, source, target, scales, descriptors, size] {
        run_place_grid(desk.stream, reinterpret_cast<GridBlock const*>(descriptors.bytes().data()), size);
    };
    result.is_right = [desk, target, placement = std::move(placement)] {
        Bytes expected(placement.target_bytes);
        std::span<std::byte> const tensor(expected);
        std::vector<BlockScaling> scalings;
        if (placement.scaling) {
            scalings.push_back(*placement.scaling);
            scalings.front().scales.bytes = placement.scales;
        }
        place(placement.blocks, placement.source, std::span(&tensor, 1), scalings);
        return desk.download(target.bytes()) == expected;
    };
    return result;
}

CopyBlock whole(std::uint64_t source, std::uint64_t target, std::uint64_t bytes) {
    CopyBlock block;
    block.source = source;
    block.target = target;
    block.run_bytes = bytes;
    return block;
}

/// Pieces of one size, each to a place of its own, all the other way round.
KernelCase pieces(Desk const& desk, std::string name, std::uint64_t piece_bytes) {
    Placement placement{{}, any_bytes(desk.source_bytes), desk.source_bytes};
    auto const count = desk.source_bytes / piece_bytes;
    for (std::uint64_t i = 0; i < count; ++i) {
        placement.blocks.push_back(whole(i * piece_bytes, (count - 1 - i) * piece_bytes, piece_bytes));
    }
    placement.target_bytes = count * piece_bytes;
    return place_case(desk, std::move(name), std::move(placement));
}

/// An eighth of the columns of a matrix of 16 KiB a row, as a row-parallel weight is cut.
KernelCase row_cut(Desk const& desk, std::string name) {
    auto const rows = desk.source_bytes / (16 * kKiB);
    auto block = whole(2 * kKiB * 3, 0, 2 * kKiB);
    block.loops.push_back({rows, 16 * kKiB, 2 * kKiB});
    return place_case(desk, std::move(name), {{block}, any_bytes(desk.source_bytes), rows * 2 * kKiB});
}

KernelCase transpose(Desk const& desk, std::string name) {
    constexpr std::uint64_t kColumns = 4096;
    auto const rows = desk.source_bytes / (2 * kColumns);
    auto block = whole(0, 0, 2);
    block.loops.push_back({rows, 2 * kColumns, 2});
    block.loops.push_back({kColumns, 2, 2 * rows});
    return place_case(desk, std::move(name), {{block}, any_bytes(rows * kColumns * 2), rows * kColumns * 2});
}

/// Thirty thousand tensors of experts, of different sizes, in one launch.
KernelCase many_experts(Desk const& desk, std::string name) {
    constexpr std::uint64_t kTensors = 30'000;
    Placement placement{{}, any_bytes(desk.source_bytes), desk.source_bytes};
    auto const mean = desk.source_bytes / kTensors / 512 * 512;
    placement.target_bytes = kTensors * mean;
    std::uint64_t at = 0;
    for (std::uint64_t i = 0; i < kTensors; ++i) {
        auto const bytes = i % 2 == 0 ? mean + mean / 2 : mean / 2;
        placement.blocks.push_back(whole(at, placement.target_bytes - at - bytes, bytes));
        at += bytes;
    }
    return place_case(desk, std::move(name), std::move(placement));
}

KernelCase cast_case(Desk const& desk, std::string name, DType from, DType to) {
    auto const element = static_cast<std::uint64_t>(bits(to)) / 8;
    auto block = whole(0, 0, desk.source_bytes);
    block.cast = {.from = from, .to = to, .target_step = element};
    auto const count = desk.source_bytes * 8 / static_cast<std::uint64_t>(bits(from));
    return place_case(desk, std::move(name), {{block}, numbers(from, desk.source_bytes), count * element});
}

KernelCase dequantize_case(Desk const& desk, std::string name, DType codes, DType scale, std::int64_t block_rows,
                           std::int64_t block_columns) {
    constexpr std::int64_t kColumns = 4096;
    auto const count = static_cast<std::int64_t>(desk.source_bytes * 8 / static_cast<std::uint64_t>(bits(codes)));
    Shape const shape = {count / kColumns / 128 * 128, kColumns};
    Shape const grid_shape = {shape[0] / block_rows, shape[1] / block_columns};
    auto const scale_bytes = static_cast<std::uint64_t>(grid_shape.num_elements() * bits(scale) / 8);
    auto const code_bytes = static_cast<std::uint64_t>(shape.num_elements() * bits(codes) / 8);
    auto block = whole(0, 0, code_bytes);
    block.cast = {.from = codes, .to = DType::bf16, .scaling = 0, .target_step = 2};
    Placement placement{{block}, any_bytes(code_bytes), static_cast<std::uint64_t>(shape.num_elements()) * 2};
    placement.scales = scale == DType::f32 ? numbers(scale, scale_bytes) : any_powers(scale_bytes);
    placement.scaling = BlockScaling{block_grid(shape, grid_shape), {{}, scale}};
    return place_case(desk, std::move(name), std::move(placement));
}

KernelCase quantize_case(Desk const& desk, std::string name) {
    constexpr std::uint64_t kColumns = 4096;
    QuantizeShape const shape = {desk.source_bytes / 2 / kColumns / 128 * 128, kColumns, 128, 128};
    auto const count = shape.rows * shape.columns;
    auto const values = numbers(DType::bf16, count * 2);
    auto const source = desk.upload(values);
    auto const codes = desk.accelerator.allocate(count);
    auto const scales = desk.accelerator.allocate(shape.blocks() * 4);
    QuantizeJob const job = {
        shape, DType::bf16, source.bytes().data(), ScaleFormat::f32, codes.bytes().data(), scales.bytes().data()};
    KernelCase result{std::move(name), count * 3 + shape.blocks() * 4};
    result.results = {codes, scales};
    result.run = [desk, job, source, codes, scales] { run_quantize_fp8(desk.stream, job); };
    result.is_right = [desk, shape, values, codes, scales] {
        std::vector<float> floats(shape.rows * shape.columns);
        cast(DType::bf16, values, DType::f32, std::as_writable_bytes(std::span(floats)));
        Bytes right_codes(floats.size());
        Bytes right_scales(shape.blocks() * 4);
        quantize_fp8(shape, floats, ScaleFormat::f32, right_codes, right_scales);
        return desk.download(codes.bytes()) == right_codes && desk.download(scales.bytes()) == right_scales;
    };
    return result;
}

KernelCase digest_case(Desk const& desk, std::string name) {
    auto const content = any_bytes(desk.source_bytes);
    auto const source = desk.upload(content);
    auto const block = whole(0, 0, desk.source_bytes);
    DigestGrid grid;
    grid.add({block, 2, source.bytes().data(), 0});
    auto const descriptors = desk.upload(grid.bytes());
    auto const sums = desk.accelerator.allocate(sizeof(std::uint64_t));
    KernelCase result{std::move(name), desk.source_bytes};
    result.results = {sums};
    result.run = [desk, source, descriptors, sums, size = grid.size()] {
        run_digest_grid(desk.stream, reinterpret_cast<GridBlock const*>(descriptors.bytes().data()), size,
                        {reinterpret_cast<std::uint64_t*>(sums.bytes().data()), 1});
    };
    result.is_right = [desk, content, sums] {
        std::uint64_t sum = 0;
        std::memcpy(&sum, desk.download(sums.bytes()).data(), sizeof(sum));
        return sum == position_digest(content, 2, 0);
    };
    return result;
}

}  // namespace

std::vector<NamedCase> kernel_cases(Accelerator& accelerator, Stream& stream, std::uint64_t megabytes) {
    Desk const desk{accelerator, stream, megabytes * kMiB};
    std::vector<NamedCase> cases;
    auto const add = [&](std::string name, auto make) { cases.push_back({name, [=] { return make(desk, name); }}); };
    add("place pieces of 1 MiB", [](Desk const& d, std::string const& n) { return pieces(d, n, kMiB); });
    add("place pieces of 16 MiB", [](Desk const& d, std::string const& n) { return pieces(d, n, 16 * kMiB); });
    add("place 2 KiB out of every 16 KiB", [](Desk const& d, std::string const& n) { return row_cut(d, n); });
    add("transpose BF16", [](Desk const& d, std::string const& n) { return transpose(d, n); });
    add("place 30 000 tensors", [](Desk const& d, std::string const& n) { return many_experts(d, n); });
    for (auto const& [from, to] : {std::pair(DType::f32, DType::bf16), std::pair(DType::bf16, DType::f32),
                                   std::pair(DType::f32, DType::f8_e4m3)}) {
        add(fmt::format("cast {} to {}", to_string(from), to_string(to)),
            [from = from, to = to](Desk const& d, std::string const& n) { return cast_case(d, n, from, to); });
    }
    add("dequantize FP8 128x128", [](Desk const& d, std::string const& n) {
        return dequantize_case(d, n, DType::f8_e4m3, DType::f32, 128, 128);
    });
    add("dequantize MXFP4",
        [](Desk const& d, std::string const& n) { return dequantize_case(d, n, DType::f4, DType::f8_e8m0, 1, 32); });
    add("quantize FP8 128x128", [](Desk const& d, std::string const& n) { return quantize_case(d, n); });
    add("digest", [](Desk const& d, std::string const& n) { return digest_case(d, n); });
    return cases;
}

}  // namespace shardwise::bench
