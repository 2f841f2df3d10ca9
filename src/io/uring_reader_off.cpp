// Stands in where liburing is not built in; callers need no #ifdef.
#include "io/reader.hpp"

namespace shardwise {

std::string uring_obstacle() { return "io_uring is not built in (CMake option SHARDWISE_WITH_URING)"; }

std::unique_ptr<Reader> make_uring_reader(std::span<FileRecord const>, std::vector<bool>, std::size_t) {
    throw Error(Errc::unavailable, uring_obstacle());
}

}  // namespace shardwise
