/// @file
/// Kernels launched on a stream of a GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace shardwise {

struct PlaceKernel;
struct DigestKernel;
struct QuantizeKernel;

/// Gives @p blocks thread blocks of a kernel to a cudaStream_t.
/// @throws Error io with CUDA's words; unavailable if this build has no GPU back ends, naming the CMake option.
void launch(PlaceKernel const& kernel, std::uint32_t blocks, void* stream);
void launch(DigestKernel const& kernel, std::uint32_t blocks, void* stream);
void launch(QuantizeKernel const& kernel, std::uint32_t blocks, void* stream);

/// Fills memory of the GPU with zeros, in order with the rest of a cudaStream_t.
/// @throws Error as launch().
void clear(std::span<std::byte> bytes, void* stream);

}  // namespace shardwise
