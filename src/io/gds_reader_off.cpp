// Stands in where cuFile's header is missing; callers need no #ifdef.
#include <shardwise/error.hpp>

#include "io/gds_reader.hpp"

namespace shardwise {
namespace {

constexpr char const* kObstacle = "GPUDirect Storage is not built in (CMake option SHARDWISE_WITH_CUFILE)";

}  // namespace

std::unique_ptr<GdsReader> make_gds_reader(std::span<FileRecord const>, Accelerator&, std::span<Memory const>,
                                           GdsOptions) {
    throw Error(Errc::unavailable, kObstacle);
}

std::vector<std::string> gds_obstacles(std::span<FileRecord const> files, Accelerator&, GdsDriver const*) {
    return std::vector<std::string>(files.size(), kObstacle);
}

std::string gds_obstacle(FileRecord const&, Accelerator&, GdsDriver const*) {
    return kObstacle;
}

}  // namespace shardwise
