/// @file
/// libcufile as it is found at run time. Nothing links it: one binary runs where it is missing, too.
#pragma once

#include <string>
#include <vector>

#include <cufile.h>

#include "util/shared_library.hpp"

namespace shardwise {

/// The functions that are used, typed by the header. Those marked optional are null in older versions.
struct CufileLibrary {
    /// @param name as SharedLibrary.
    /// @throws Error unavailable if the library, or a function that is not optional, is missing.
    explicit CufileLibrary(std::string name);

    SharedLibrary library;

    decltype(&cuFileDriverOpen) driver_open;
    CUfileError_t (*driver_close)();
    decltype(&cuFileDriverGetProperties) driver_get_properties;
    decltype(&cuFileHandleRegister) handle_register;
    decltype(&cuFileHandleDeregister) handle_deregister;
    decltype(&cuFileBufRegister) buf_register;
    decltype(&cuFileBufDeregister) buf_deregister;
    decltype(&cuFileRead) read;

    decltype(&cuFileGetVersion) get_version;                  ///< optional: from 1.8 on
    decltype(&cuFileSetParameterSizeT) set_parameter_size_t;  ///< optional: from 1.14 on, like the next two
    decltype(&cuFileSetParameterBool) set_parameter_bool;     ///< optional
    decltype(&cuFileGetParameterBool) get_parameter_bool;     ///< optional
    decltype(&cuFileSetStatsLevel) set_stats_level;           ///< optional: from 1.15 on, like the next two
    decltype(&cuFileStatsStart) stats_start;                  ///< optional
    decltype(&cuFileGetStatsL3) get_stats_l3;                 ///< optional; call per_gpu_stats() instead

    int version = 0;                ///< 1000 * major + 10 * minor; 0: older than 1.8
    bool has_vector_reads = false;  ///< cuFileReadv, from 1.19 on; statistics have more fields since then
};

/// What cuFile counted for each GPU of this process; empty if this version cannot tell, or counts nothing. Unlike
/// get_stats_l3, right also where header and library are of versions that lay statistics out differently.
std::vector<CUfilePerGpuStats_t> per_gpu_stats(CufileLibrary const& cufile);

}  // namespace shardwise
