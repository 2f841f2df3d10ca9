#include <shardwise/error.hpp>

#include "device/accelerator.hpp"

namespace shardwise {
namespace {

constexpr char const* kObstacle = "this build has no GPU back ends (CMake option SHARDWISE_WITH_CUDA)";

}  // namespace

VisibleGpus visible_gpus() {
    return {0, kObstacle};
}

std::optional<int> find_gpu(std::string const&) {
    return std::nullopt;
}

std::unique_ptr<Accelerator> open_gpu(int) {
    throw Error(Errc::unavailable, kObstacle);
}

}  // namespace shardwise
