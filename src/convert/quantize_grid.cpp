#include "convert/quantize_grid.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "convert/cast.hpp"
#include "convert/grid_launch.hpp"
#include "convert/grid_list.hpp"
#include "convert/quantize_kernel.hpp"

namespace shardwise {
namespace {

constexpr std::uint64_t kMostElements = std::uint64_t{1} << 30U;  ///< of a block; so 32 bits count its groups
constexpr std::uint64_t kGroup = 4;

std::uint8_t access_of(std::byte const* at, std::uint64_t strides, std::uint64_t most) {
    return static_cast<std::uint8_t>(power_in(reinterpret_cast<std::uintptr_t>(at) | strides, most));
}

QuantizeKernel kernel_of(QuantizeJob const& job) {
    auto const& shape = job.shape;
    auto const group = shape.block_columns % kGroup == 0 ? kGroup : 1;
    auto const bytes = static_cast<std::uint64_t>(bits(job.from)) / 8;
    QuantizeKernel kernel = {};
    kernel.values = job.values;
    kernel.codes = job.codes;
    kernel.scales = job.scales;
    kernel.row_elements = shape.columns;
    kernel.block_rows = shape.block_rows;
    kernel.blocks_across = fast_divisor(shape.columns / shape.block_columns);
    kernel.groups_across = fast_divisor(shape.block_columns / group);
    kernel.groups = shape.block_rows * (shape.block_columns / group);
    kernel.from = job.from;
    kernel.format = job.format;
    kernel.element_bytes = static_cast<std::uint8_t>(bytes);
    kernel.group = static_cast<std::uint8_t>(group);
    kernel.source_access = access_of(job.values, group * bytes, 16);
    kernel.target_access = access_of(job.codes, group, 16);
    kernel.scale_access = access_of(job.scales, 0, job.format == ScaleFormat::f32 ? sizeof(float) : 1);
    return kernel;
}

}  // namespace

void run_quantize_fp8(Stream& stream, QuantizeJob const& job) {
    check_cast(job.from, DType::f8_e4m3);
    check_cast(DType::f32, job.from);
    auto const& shape = job.shape;
    if (shape.rows == 0 || shape.columns == 0) { return; }
    auto const blocks = shape.blocks();
    if (shape.block_rows * shape.block_columns > kMostElements || blocks > kMostElements) {
        throw Error(Errc::input, fmt::format("{} blocks of {} x {} are too many or too large to be quantized by a GPU",
                                             blocks, shape.block_rows, shape.block_columns));
    }
    auto const kernel = kernel_of(job);
    auto const count = static_cast<std::uint32_t>(blocks);
    if (stream.native() != nullptr) { return launch(kernel, count, stream.native()); }
    stream.run([kernel, count] { run_on_host(kernel, count); });
}

}  // namespace shardwise
