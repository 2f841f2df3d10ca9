#include "io/file_access.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <shardwise/error.hpp>

#include "io/file_system.hpp"
#include "util/checked.hpp"
#include "util/file.hpp"

namespace shardwise {
namespace {

/// Places to look at: all of a small file, else pieces spread evenly, because looking costs time for every page.
struct Samples {
    static constexpr std::uint64_t kCount = 64;
    static constexpr std::uint64_t kPieceBytes = 512ULL << 10U;

    explicit Samples(std::uint64_t size_bytes)
        : size_bytes_(size_bytes), is_whole_(size_bytes <= kCount * kPieceBytes) {}

    std::uint64_t count() const noexcept { return is_whole_ ? 1 : kCount; }
    std::uint64_t length() const noexcept { return is_whole_ ? size_bytes_ : kPieceBytes; }
    std::uint64_t begin(std::uint64_t index) const noexcept {
        return is_whole_ ? 0 : align_down(size_bytes_ / kCount * index, kSlotAlignment);
    }

   private:
    std::uint64_t size_bytes_;
    bool is_whole_;
};

/// By cachestat(2), Linux 6.5 and later; negative where the kernel lacks it.
double cachestat_fraction(int fd, std::uint64_t size_bytes, std::uint64_t page_bytes) {
    constexpr long kCachestatSyscall = 451;
    struct CachestatRange {
        std::uint64_t offset;
        std::uint64_t length;
    };
    struct Cachestat {
        std::uint64_t cached, dirty, writeback, evicted, recently_evicted;
    };
    Samples const samples(size_bytes);
    std::uint64_t cached = 0;
    for (std::uint64_t i = 0; i < samples.count(); ++i) {
        CachestatRange range = {samples.begin(i), samples.length()};
        Cachestat result = {};
        if (::syscall(kCachestatSyscall, fd, &range, &result, 0U) != 0) { return -1; }
        cached += result.cached;
    }
    return static_cast<double>(cached) / static_cast<double>(samples.count() * ceil_div(samples.length(), page_bytes));
}

/// Asks for single bytes spread over the file that must not wait for the disk.
double nowait_fraction(int fd, std::uint64_t size_bytes) {
    constexpr std::uint64_t kProbes = 64;
    std::uint64_t cached = 0;
    for (std::uint64_t i = 0; i < kProbes; ++i) {
        char byte = 0;
        iovec io = {&byte, 1};
        cached += ::preadv2(fd, &io, 1, static_cast<off_t>(size_bytes / kProbes * i), RWF_NOWAIT) == 1 ? 1 : 0;
    }
    return static_cast<double>(cached) / static_cast<double>(kProbes);
}

bool direct_read_works(std::string const& path) {
    int const raw = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (raw < 0) { return false; }
    Fd const fd(raw);
    std::unique_ptr<void, decltype(&std::free)> const page(std::aligned_alloc(kSlotAlignment, kSlotAlignment),
                                                           &std::free);
    return ::pread(fd.get(), page.get(), kSlotAlignment, 0) >= 0;
}

/// What the kernel says about the file, Linux 6.1 and later, where the file system tells it; else whole pages, which
/// suit every device.
std::uint64_t memory_alignment_of(int fd) {
    struct KernelStatx {  // struct statx of the kernel; the C library's may be older
        std::uint32_t mask;
        std::array<std::uint32_t, 37> others;
        std::uint32_t memory_alignment;
        std::array<std::uint32_t, 25> rest;
    };
    static_assert(sizeof(KernelStatx) == 256);
    constexpr std::uint32_t kDioAlign = 0x2000;
    KernelStatx facts = {};
    bool const is_told = ::syscall(SYS_statx, fd, "", AT_EMPTY_PATH, kDioAlign, &facts) == 0 &&
                         (facts.mask & kDioAlign) != 0 && facts.memory_alignment != 0;
    return is_told ? facts.memory_alignment : kSlotAlignment;
}

}  // namespace

FileFacts probe_file(FileRecord const& file) {
    Fd const fd = open_for_read(file.path);
    auto const system = file_system_of(fd.get(), file.path);
    FileFacts facts;
    facts.file_system = system.name;
    facts.is_network = system.is_network;
    facts.is_memory = system.is_memory;
    auto const page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    facts.cached_fraction = cachestat_fraction(fd.get(), file.size_bytes, page_bytes);
    if (facts.cached_fraction < 0) { facts.cached_fraction = nowait_fraction(fd.get(), file.size_bytes); }
    facts.allows_direct = !facts.is_memory && direct_read_works(file.path);
    facts.memory_alignment = memory_alignment_of(fd.get());
    return facts;
}

FileAccess::FileAccess(FileRecord const& file, bool wants_direct)
    : path_(file.path), size_bytes_(file.size_bytes), buffered_(open_for_read(file.path)) {
    auto const size = file_size(buffered_, path_);
    if (size != size_bytes_) {
        throw Error(Errc::input,
                    fmt::format("{} has {} B now, its header was read when it had {}", path_, size, size_bytes_));
    }
    if (wants_direct) { direct_.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT)); }
}

OpenedFiles<FileAccess> open_when_read(std::span<FileRecord const> files, std::vector<bool> wants_direct) {
    return {files.size(), [files, wants_direct = std::move(wants_direct)](std::uint32_t file) {
                return std::make_unique<FileAccess>(files[file], !wants_direct.empty() && wants_direct[file]);
            }};
}

void check_outcome(FileAccess const& access, FileRange const& range, std::int64_t outcome) {
    if (outcome == -EINTR || outcome == -EAGAIN) { return; }
    auto const what = fmt::format("read {} at {} for {} B", access.path(), range.begin, range.size_bytes);
    if (outcome < 0) { throw_errno(static_cast<int>(-outcome), what); }
    check_file_ends(access.fd(), what, range.end());
    throw Error(Errc::input, fmt::format("{}: the file ends there, but had {} B when its header was read", what,
                                         access.size_bytes()));
}

}  // namespace shardwise
