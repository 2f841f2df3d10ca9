/// @file
/// Kernels as CUDA knows them. For .cu files.
#pragma once

#include <string>

#include <cuda_runtime.h>

#include <shardwise/error.hpp>

#include "convert/grid_kernel.hpp"

namespace shardwise {

template <std::uint32_t phase, class Kernel>
__device__ __forceinline__ void device_phases(Kernel const& kernel, typename Kernel::Shared& shared) {
    if constexpr (phase < Kernel::kPhases) {
        kernel(Phase<phase>{}, GridThread{blockIdx.x, threadIdx.x}, shared);
        if constexpr (phase + 1 < Kernel::kPhases) { __syncthreads(); }
        device_phases<phase + 1>(kernel, shared);
    }
}

template <class Kernel>
__global__ void __launch_bounds__(kGridThreads, Kernel::kBlocksPerProcessor) grid_kernel(Kernel kernel) {
    __shared__ typename Kernel::Shared shared;
    device_phases<0>(kernel, shared);
}

/// @throws Error io with what was tried, and CUDA's words.
inline void check_launch(cudaError_t code, std::string const& what) {
    if (code != cudaSuccess) { throw Error(Errc::io, what + ": " + cudaGetErrorString(code)); }
}

template <class Kernel>
void launch_grid(Kernel const& kernel, std::uint32_t blocks, void* stream) {
    grid_kernel<<<blocks, kGridThreads, 0, static_cast<cudaStream_t>(stream)>>>(kernel);
    check_launch(cudaGetLastError(), "launch a kernel of " + std::to_string(blocks) + " thread blocks");
}

}  // namespace shardwise
