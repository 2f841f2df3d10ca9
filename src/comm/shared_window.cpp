#include "comm/shared_window.hpp"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include "util/checked.hpp"
#include "util/units.hpp"

namespace shardwise {
namespace {

constexpr std::uint64_t kPage = 4096;

std::span<std::byte> page_aligned(void* address, std::uint64_t part_bytes) {
    return {reinterpret_cast<std::byte*>(align_up(reinterpret_cast<std::uintptr_t>(address), kPage)), part_bytes};
}

}  // namespace

SharedWindow::SharedWindow(MPI_Comm node_comm, std::uint64_t part_bytes) {
    // Parts need not follow each other, which lets each lie on its own rank's memory.
    MPI_Info info = MPI_INFO_NULL;
    MPI_Info_create(&info);
    MPI_Info_set(info, "alloc_shared_noncontig", "true");
    void* own = nullptr;
    int const code =
        MPI_Win_allocate_shared(static_cast<MPI_Aint>(part_bytes + kPage), 1, info, node_comm, &own, &window_);
    MPI_Info_free(&info);
    check_mpi(code, "allocate shared memory");
    MPI_Win_set_errhandler(window_, MPI_ERRORS_RETURN);
    check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, window_), "open the shared memory");

    int count = 0;
    MPI_Comm_size(node_comm, &count);
    for (int rank = 0; rank < count; ++rank) {
        MPI_Aint size = 0;
        int unit = 0;
        void* address = nullptr;
        check_mpi(MPI_Win_shared_query(window_, rank, &size, &unit, &address), "find a neighbour's shared memory");
        parts_.push_back(page_aligned(address, part_bytes));
    }
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
