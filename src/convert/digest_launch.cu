#include "convert/cuda_launch.hpp"
#include "convert/digest_kernel.hpp"
#include "convert/grid_launch.hpp"

namespace shardwise {

void launch(DigestKernel const& kernel, std::uint32_t blocks, void* stream) {
    launch_grid(kernel, blocks, stream);
}

void clear(std::span<std::byte> bytes, void* stream) {
    if (bytes.empty()) { return; }
    check_launch(cudaMemsetAsync(bytes.data(), 0, bytes.size(), static_cast<cudaStream_t>(stream)),
                 "clear " + std::to_string(bytes.size()) + " B");
}

}  // namespace shardwise
