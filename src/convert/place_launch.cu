#include "convert/cuda_launch.hpp"
#include "convert/grid_launch.hpp"
#include "convert/place_kernel.hpp"

namespace shardwise {

void launch(PlaceKernel const& kernel, std::uint32_t blocks, void* stream) {
    launch_grid(kernel, blocks, stream);
}

}  // namespace shardwise
