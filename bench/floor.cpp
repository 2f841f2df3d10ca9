// The floor under a load: every rank brings its share of the checkpoint's bytes into fresh memory on huge pages, and
// nothing else. cold: by io_uring past the page cache, straight into the memory, at aligned offsets. warm: by copying
// out of the mapped page cache. Prints the seconds of the slowest rank, from a barrier to its last byte. hold: only
// touches the memory, says "ready", and keeps it until its input ends.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <fcntl.h>
#include <liburing.h>
#include <shardwise/mpi.hpp>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = 2U << 20U;
constexpr std::size_t kRequest = 4U << 20U;
constexpr unsigned kDepth = 16;

/// A stretch of a file and the place its bytes go to.
struct Piece {
    int fd;
    std::size_t begin, size, target;
};

[[noreturn]] void die(char const* what) {
    std::perror(what);
    MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    std::abort();
}

std::byte* fresh_memory(std::size_t size) {
    auto* const raw =
        ::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) { die("mmap"); }
    auto const begin = (reinterpret_cast<std::uintptr_t>(raw) + kHugePage - 1) / kHugePage * kHugePage;
    ::madvise(reinterpret_cast<void*>(begin), size, MADV_HUGEPAGE);
    return reinterpret_cast<std::byte*>(begin);
}

/// This rank's share of all files, in whole pages, cut into requests.
std::vector<Piece> share_of(std::vector<std::string> const& paths, int rank, int ranks, bool is_cold) {
    std::vector<Piece> pieces;
    std::size_t target = 0;
    for (auto const& path : paths) {
        int const fd = ::open(path.c_str(), O_RDONLY | (is_cold ? O_DIRECT : 0));
        struct stat status = {};
        if (fd < 0 || ::fstat(fd, &status) != 0) { die(path.c_str()); }
        auto const pages = static_cast<std::size_t>(status.st_size) / kPage;
        auto const begin = pages * static_cast<std::size_t>(rank) / static_cast<std::size_t>(ranks) * kPage;
        auto const end = pages * static_cast<std::size_t>(rank + 1) / static_cast<std::size_t>(ranks) * kPage;
        for (auto at = begin; at < end; at += kRequest) {
            pieces.push_back({fd, at, std::min(kRequest, end - at), target});
            target += pieces.back().size;
        }
    }
    return pieces;
}

void read_cold(std::vector<Piece> const& pieces, std::byte* memory) {
    io_uring ring;
    if (io_uring_queue_init(kDepth, &ring, 0) < 0) { die("io_uring"); }
    std::size_t next = 0;
    std::size_t done = 0;
    while (done < pieces.size()) {
        for (; next < pieces.size() && next - done < kDepth; ++next) {
            auto* const entry = io_uring_get_sqe(&ring);
            auto const& piece = pieces[next];
            io_uring_prep_read(entry, piece.fd, memory + piece.target, static_cast<unsigned>(piece.size), piece.begin);
            entry->user_data = piece.size;
        }
        io_uring_submit_and_wait(&ring, 1);
        io_uring_cqe* completion = nullptr;
        while (io_uring_peek_cqe(&ring, &completion) == 0) {
            if (completion->res != static_cast<int>(completion->user_data)) { die("short read"); }
            io_uring_cqe_seen(&ring, completion);
            ++done;
        }
    }
    io_uring_queue_exit(&ring);
}

void copy_warm(std::vector<Piece> const& pieces, std::byte* memory) {
    std::map<int, std::byte*> mapped;
    for (auto const& piece : pieces) {
        auto& file = mapped[piece.fd];
        if (file == nullptr) {
            struct stat status = {};
            ::fstat(piece.fd, &status);
            auto* const address =
                ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_SHARED, piece.fd, 0);
            if (address == MAP_FAILED) { die("mmap file"); }
            file = static_cast<std::byte*>(address);
        }
        ::madvise(file + piece.begin, piece.size, MADV_POPULATE_READ);
        std::memcpy(memory + piece.target, file + piece.begin, piece.size);
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 3) {
        std::fprintf(stderr, "floor cold|warm|hold FILE...\n");
        return 2;
    }
    std::string const mode = arguments[1];
    int rank = 0;
    int ranks = 1;
    if (mode != "hold") {
        MPI_Init(nullptr, nullptr);
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    }
    bool const is_cold = mode == "cold";
    auto const pieces = share_of({arguments + 2, arguments + count}, rank, ranks, is_cold);
    auto const size = pieces.empty() ? 0 : pieces.back().target + pieces.back().size;

    if (mode != "hold") { MPI_Barrier(MPI_COMM_WORLD); }
    auto const began = std::chrono::steady_clock::now();
    auto* const memory = fresh_memory(size);
    if (mode == "hold") {
        std::memset(memory, 1, size);
        std::puts("ready");
        std::fflush(stdout);
        while (std::getchar() != EOF) {}
        return 0;
    }
    is_cold ? read_cold(pieces, memory) : copy_warm(pieces, memory);
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    if (rank == 0) { std::printf("%.6f\n", seconds); }
    MPI_Finalize();
    return 0;
}
