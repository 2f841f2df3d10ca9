/// @file
/// What grid kernels are told to do: flat descriptors, many to a launch, that the host and GPUs read alike. Addresses
/// are the accelerator's. GridList makes them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <shardwise/dtype.hpp>

#include "convert/host_device.hpp"

namespace shardwise {

/// Threads of a thread block, in every grid kernel.
inline constexpr std::uint32_t kGridThreads = 256;

/// Loops of a descriptor, the one over its run included.
inline constexpr std::uint32_t kGridLoops = 5;

/// Division by a number below 2^31 without dividing: a multiplication and a shift.
struct FastDivisor {
    std::uint32_t divisor = 1;
    std::uint32_t magic = 0x80000001U;  ///< 2^(31 + shift) / divisor, rounded up past it
    std::uint32_t shift = 0;            ///< the least with 2^shift >= divisor

    /// floor(n / divisor) for n < 2^31.
    SHARDWISE_HOST_DEVICE std::uint32_t quotient(std::uint32_t n) const noexcept {
        return static_cast<std::uint32_t>((std::uint64_t{2 * n} * magic) >> 32U) >> shift;
    }

    SHARDWISE_HOST_DEVICE std::uint32_t remainder(std::uint32_t n) const noexcept { return n - quotient(n) * divisor; }
};

/// @param divisor in [1, 2^31).
FastDivisor fast_divisor(std::uint64_t divisor);

/// The greatest power of two, @p most at most, that divides @p value; @p most is one itself.
constexpr std::uint64_t power_in(std::uint64_t value, std::uint64_t most) noexcept {
    auto const all = value | most;
    return all & (~all + 1);
}

/// A loop; strides in bytes, and in elements of the stored tensor.
struct GridLoop {
    FastDivisor count;
    std::uint64_t source_stride = 0;
    std::uint64_t target_stride = 0;
    std::uint64_t element_stride = 0;
};

/// The scales of a descriptor: BlockScaling with its divisions prepared. Elements count from the first one of
/// `first_row`, so that 32 bits hold them.
struct GridScales {
    std::byte const* table = nullptr;  ///< null: nothing to scale
    std::uint64_t first_scale = 0;     ///< number of the first one in the table
    std::uint64_t grid_columns = 1;
    FastDivisor columns;
    FastDivisor repeat_rows;
    FastDivisor block_rows;
    FastDivisor block_columns;
    std::uint32_t first_row = 0;     ///< below repeat_rows
    DType dtype = DType::f32;        ///< a floating-point type of whole bytes
    std::uint8_t element_bytes = 4;  ///< of one scale
    std::uint8_t access = 1;         ///< bytes that may be loaded at once
    bool is_shared = false;          ///< all elements of a group have the same one
};

/// What becomes of the elements of a descriptor.
enum class GridWork : std::uint8_t {
    move,               ///< bytes as they are, `group` at a time
    move_shifted,       ///< 16 bytes at a time, out of words that do not begin where the target's do
    convert,            ///< groups of elements, cast or dequantized
    transpose,          ///< elements of 1, 2, 4 or 8 bytes: both sides have neighbours, but different ones
    convert_transpose,  ///< the same with elements cast or dequantized
    digest,             ///< nothing is written; see DigestGrid
};

/// Groups of bytes or elements under loops, cut into tiles of a thread block each.
struct GridBlock {
    std::byte const* source = nullptr;
    std::byte* target = nullptr;
    std::uint64_t element = 0;               ///< number of the first one; with scales from GridScales::first_row on
    std::uint64_t element_step = 0;          ///< bytes from element to element in the target; 0: side by side
    std::array<GridLoop, kGridLoops> loops;  ///< innermost first; loops[0] goes over the groups of a run
    GridScales scales;
    std::uint32_t groups = 0;               ///< in all, at most 2^30; not of a transpose
    std::uint32_t first_tile = 0;           ///< of the whole list
    std::array<FastDivisor, 2> side_tiles;  ///< of a transpose: tiles along loops[0] and loops[1]
    std::uint32_t result = 0;               ///< of a digest: index of its sum
    GridWork work = GridWork::move;
    std::uint8_t loop_count = 1;
    std::uint8_t group = 1;          ///< elements of a group; moved as they are: bytes
    std::uint8_t source_access = 1;  ///< bytes that may be loaded at once, a power of two
    std::uint8_t target_access = 1;  ///< bytes that may be stored at once
    std::uint8_t shift = 0;          ///< of move_shifted: bytes of the first word that come before the first group
    std::uint8_t unit_bytes = 1;     ///< of a digest
    DType from = DType::u8;
    DType to = DType::u8;
};
static_assert(std::is_trivially_copyable_v<GridBlock>);

/// How much a list of descriptors is.
struct GridSize {
    std::uint32_t blocks = 0;
    std::uint32_t tiles = 0;  ///< thread blocks of the launch
};

/// Groups that a thread has under way at once: enough bytes to hide the memory's latency, few enough for registers.
SHARDWISE_HOST_DEVICE constexpr std::uint32_t groups_in_flight(GridWork work, std::uint32_t group) noexcept {
    switch (work) {
        case GridWork::move: return group >= 8 ? 4 : 8;
        case GridWork::move_shifted: return 2;
        case GridWork::convert: return group <= 4 ? 4 : 16 / group;
        case GridWork::digest: return 4;
        default: return group == 1 ? 4 : 2;
    }
}

/// Times that a thread takes as many groups, one after the other.
inline constexpr std::uint32_t kGridRounds = 2;

/// Groups of a tile; not of a transpose.
SHARDWISE_HOST_DEVICE constexpr std::uint32_t tile_groups(GridWork work, std::uint32_t group) noexcept {
    return kGridThreads * groups_in_flight(work, group) * kGridRounds;
}

/// A transpose's tile in shared memory: rows that are read lie along loops[0], those written along loops[1].
struct TransposeTile {
    std::uint32_t run_log2 = 0;     ///< elements along loops[0], which is a multiple of every group
    std::uint32_t across_log2 = 0;  ///< elements along loops[1]
    std::uint32_t pitch = 0;        ///< bytes from row to row; chosen so that a column lies in all banks

    SHARDWISE_HOST_DEVICE constexpr std::uint32_t run() const noexcept { return 1U << run_log2; }
    SHARDWISE_HOST_DEVICE constexpr std::uint32_t across() const noexcept { return 1U << across_log2; }
};
inline constexpr std::uint32_t kTransposeBytes = 64 * 132;  ///< the most that one takes
SHARDWISE_HOST_DEVICE constexpr TransposeTile transpose_tile(std::uint32_t element_bytes) noexcept {
    switch (element_bytes) {
        case 1: return {6, 6, 68};
        case 2: return {6, 6, 132};
        case 4: return {6, 5, 260};
        default: return {5, 5, 264};
    }
}

}  // namespace shardwise
