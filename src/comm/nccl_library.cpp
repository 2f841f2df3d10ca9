#include "comm/nccl_library.hpp"

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {

NcclLibrary::NcclLibrary(std::string name)
    : library(std::move(name)),
      get_version(library.get<decltype(get_version)>("ncclGetVersion")),
      get_unique_id(library.get<decltype(get_unique_id)>("ncclGetUniqueId")),
      init_rank(library.get<decltype(init_rank)>("ncclCommInitRankConfig")),
      get_async_error(library.get<decltype(get_async_error)>("ncclCommGetAsyncError")),
      abort(library.get<decltype(abort)>("ncclCommAbort")),
      group_start(library.get<decltype(group_start)>("ncclGroupStart")),
      group_end(library.get<decltype(group_end)>("ncclGroupEnd")),
      send(library.get<decltype(send)>("ncclSend")),
      receive(library.get<decltype(receive)>("ncclRecv")),
      broadcast(library.get<decltype(broadcast)>("ncclBroadcast")),
      error_text(library.get<decltype(error_text)>("ncclGetErrorString")),
      last_error(library.get<decltype(last_error)>("ncclGetLastError")) {}

NcclLibrary const& NcclLibrary::get() {
    static auto const* const library = new NcclLibrary("libnccl.so.2");
    return *library;
}

int NcclLibrary::version() const {
    int version = 0;
    if (get_version(&version) != ncclSuccess) { throw Error(Errc::unavailable, "NCCL does not tell its version"); }
    return version;
}

std::string nccl_version_text(int version) {
    int const thousand = version < 10000 ? 1000 : 10000;  // 2.8 was 2804, 2.9 is 20900
    return fmt::format("{}.{}.{}", version / thousand, version % thousand / 100, version % 100);
}

}  // namespace shardwise
