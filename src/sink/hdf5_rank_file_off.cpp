// Stands in where HDF5 is not built in; callers need no #ifdef.
#include "sink/rank_files.hpp"

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {

void require_hdf5() {
    throw Error(Errc::unavailable, "--format hdf5: HDF5 is not built in (CMake option SHARDWISE_WITH_HDF5)");
}

PendingFile write_hdf5_rank_file(ParameterStore const&, Plan const&, std::string const& path) {
    throw Error(Errc::unavailable,
                fmt::format("write {}: HDF5 is not built in (CMake option SHARDWISE_WITH_HDF5)", path));
}

FileHeader read_hdf5_rank_file(std::string const& path) {
    throw Error(Errc::unavailable,
                fmt::format("read {}: HDF5 is not built in (CMake option SHARDWISE_WITH_HDF5)", path));
}

}  // namespace shardwise
