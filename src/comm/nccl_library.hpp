/// @file
/// NCCL's functions, found when a load first wants them: one program runs with and without it.
#pragma once

#include <string>

#include <nccl.h>

#include "util/shared_library.hpp"

namespace shardwise {

struct NcclLibrary {
    /// libnccl.so.2, opened once for the whole process and never closed: it has threads of its own.
    /// @throws Error unavailable with the loader's words.
    static NcclLibrary const& get();

    explicit NcclLibrary(std::string name);

    SharedLibrary library;
    decltype(&ncclGetVersion) get_version;
    decltype(&ncclGetUniqueId) get_unique_id;
    decltype(&ncclCommInitRankConfig) init_rank;
    decltype(&ncclCommGetAsyncError) get_async_error;
    decltype(&ncclCommAbort) abort;
    decltype(&ncclGroupStart) group_start;
    decltype(&ncclGroupEnd) group_end;
    decltype(&ncclSend) send;
    decltype(&ncclRecv) receive;
    decltype(&ncclBroadcast) broadcast;
    decltype(&ncclGetErrorString) error_text;
    decltype(&ncclGetLastError) last_error;

    /// As NCCL numbers it: 23004 is 2.30.4.
    int version() const;
};

/// Example: "2.30.4".
std::string nccl_version_text(int version);

}  // namespace shardwise
