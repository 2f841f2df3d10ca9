/// @file
/// Kernels as plain function objects, and the host in place of a GPU. A kernel has
///   Shared                             memory that the threads of a thread block share; contents at first undefined
///   kPhases                            all threads end a phase before one begins the next
///   kBlocksPerProcessor                thread blocks that a GPU's processor has at once, for which registers must do
///   operator()<phase>(GridThread, Shared&) const   what one thread does in a phase
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "convert/grid_block.hpp"
#include "convert/host_device.hpp"

namespace shardwise {

/// A thread, of kGridThreads, in a thread block.
struct GridThread {
    std::uint32_t block = 0;
    std::uint32_t thread = 0;
};

template <std::uint32_t phase>
using Phase = std::integral_constant<std::uint32_t, phase>;

namespace detail {

/// Threads go in either direction, so that one which needs what another does in the same phase is found out.
template <std::uint32_t phase, class Kernel>
void run_phases(Kernel const& kernel, std::uint32_t block, typename Kernel::Shared& shared) {
    if constexpr (phase < Kernel::kPhases) {
        for (std::uint32_t i = 0; i < kGridThreads; ++i) {
            auto const thread = block % 2 == 0 ? i : kGridThreads - 1 - i;
            kernel(Phase<phase>{}, GridThread{block, thread}, shared);
        }
        run_phases<phase + 1>(kernel, block, shared);
    }
}

}  // namespace detail

/// Runs @p blocks thread blocks of @p kernel, one after the other.
template <class Kernel>
void run_on_host(Kernel const& kernel, std::uint32_t blocks) {
    for (std::uint32_t block = 0; block < blocks; ++block) {
        typename Kernel::Shared shared;
        detail::run_phases<0>(kernel, block, shared);
    }
}

/// The descriptor that has @p tile: the last one that begins at or before it.
SHARDWISE_HOST_DEVICE std::uint32_t block_of_tile(GridBlock const* blocks, std::uint32_t count, std::uint32_t tile) {
    std::uint32_t first = 0;
    for (auto size = count; size > 1;) {
        auto const half = size / 2;
        first = blocks[first + half].first_tile <= tile ? first + half : first;
        size -= half;
    }
    return first;
}

}  // namespace shardwise
