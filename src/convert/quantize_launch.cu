#include "convert/cuda_launch.hpp"
#include "convert/grid_launch.hpp"
#include "convert/quantize_kernel.hpp"

namespace shardwise {

void launch(QuantizeKernel const& kernel, std::uint32_t blocks, void* stream) {
    launch_grid(kernel, blocks, stream);
}

}  // namespace shardwise
