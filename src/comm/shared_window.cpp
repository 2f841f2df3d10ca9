#include "comm/shared_window.hpp"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include "util/checked.hpp"
#include "util/units.hpp"

namespace shardwise {
namespace {

constexpr std::uint64_t kPage = 4096;

}  // namespace

SharedWindow::SharedWindow(MPI_Comm node_comm, std::uint64_t size_bytes) {
    // The first rank of the node gives all of it, with room to begin on a page.
    int own_rank = 0;
    MPI_Comm_rank(node_comm, &own_rank);
    auto const own_bytes = own_rank == 0 ? static_cast<MPI_Aint>(size_bytes + kPage) : 0;
    void* own = nullptr;
    check_mpi(MPI_Win_allocate_shared(own_bytes, 1, MPI_INFO_NULL, node_comm, &own, &window_),
              "allocate shared memory");
    MPI_Win_set_errhandler(window_, MPI_ERRORS_RETURN);
    check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, window_), "open the shared memory");

    MPI_Aint size = 0;
    int unit = 0;
    void* begin = nullptr;
    check_mpi(MPI_Win_shared_query(window_, 0, &size, &unit, &begin), "find the node's shared memory");
    auto const aligned = align_up(reinterpret_cast<std::uintptr_t>(begin), kPage);
    bytes_ = {reinterpret_cast<std::byte*>(aligned), size_bytes};
}

SharedWindow::~SharedWindow() {
    int is_finalized = 0;
    MPI_Finalized(&is_finalized);
    if (is_finalized != 0 || window_ == MPI_WIN_NULL) { return; }
    MPI_Win_unlock_all(window_);
    MPI_Win_free(&window_);
}

void SharedWindow::synchronize() { check_mpi(MPI_Win_sync(window_), "synchronize shared memory"); }

std::string shared_memory_obstacle(std::uint64_t total_bytes) {
    struct statvfs status = {};
    if (::statvfs("/dev/shm", &status) != 0) { return "there is no /dev/shm"; }
    auto const free_bytes = static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
    if (free_bytes >= total_bytes) { return {}; }
    return fmt::format("/dev/shm has {} free, {} are needed", format_bytes(free_bytes), format_bytes(total_bytes));
}

}  // namespace shardwise
