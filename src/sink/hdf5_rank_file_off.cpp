// Stands in where HDF5 is not built in; callers need no #ifdef.
#include "sink/rank_files.hpp"

#include <shardwise/error.hpp>

namespace shardwise {

PendingFile write_hdf5_rank_file(ParameterStore const&, Plan const&, std::string const&) {
    throw Error(Errc::unavailable, "--format hdf5: HDF5 is not built in (CMake option SHARDWISE_WITH_HDF5)");
}

}  // namespace shardwise
