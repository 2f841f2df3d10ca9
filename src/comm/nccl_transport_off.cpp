#include <shardwise/error.hpp>

#include "comm/nccl_transport.hpp"

namespace shardwise {
namespace {

constexpr char const* kObstacle = "NCCL is not in this build (CMake option SHARDWISE_WITH_CUDA)";

}  // namespace

std::string nccl_obstacle(Communicator&, Accelerator const&, Stream const&) { return kObstacle; }

std::unique_ptr<Transport> make_nccl_transport(Communicator&, Stream&) { throw Error(Errc::unavailable, kObstacle); }

}  // namespace shardwise
