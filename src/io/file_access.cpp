#include "io/file_access.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <shardwise/error.hpp>

#include "util/checked.hpp"
#include "util/file.hpp"

namespace shardwise {
namespace {

struct FileSystem {
    std::uint32_t magic;
    char const* name;
    bool is_network = false;
};

constexpr std::uint32_t kLustre = 0x0BD00BD0;
constexpr std::uint32_t kXfs = 0x58465342;
constexpr std::uint32_t kFuse = 0x65735546;
constexpr std::uint32_t kCeph = 0x00C36400;
constexpr std::uint32_t kGpfs = 0x47504653;
constexpr std::uint32_t kBeegfs = 0x19830326;
constexpr std::uint32_t kZfs = 0x2FC12FC1;

constexpr std::array<FileSystem, 14> kFileSystems = {{
    {EXT4_SUPER_MAGIC, "ext4"},
    {kXfs, "xfs"},
    {BTRFS_SUPER_MAGIC, "btrfs"},
    {TMPFS_MAGIC, "tmpfs"},
    {RAMFS_MAGIC, "ramfs"},
    {OVERLAYFS_SUPER_MAGIC, "overlay"},
    {NFS_SUPER_MAGIC, "nfs", true},
    {V9FS_MAGIC, "9p"},
    {kFuse, "fuse"},
    {kLustre, "lustre", true},
    {kCeph, "ceph", true},
    {kGpfs, "gpfs", true},
    {kBeegfs, "beegfs", true},
    {kZfs, "zfs"},
}};

void set_file_system(FileFacts& facts, std::uint32_t magic) {
    auto const known = std::ranges::find(kFileSystems, magic, &FileSystem::magic);
    bool const is_known = known != kFileSystems.end();
    facts.file_system = is_known ? known->name : fmt::format("type {:#x}", magic);
    facts.is_network = is_known && known->is_network;
}

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

}  // namespace

FileFacts probe_file(FileRecord const& file) {
    Fd const fd = open_for_read(file.path);
    struct statfs system = {};
    if (::fstatfs(fd.get(), &system) != 0) { throw_errno(errno, fmt::format("statfs {}", file.path)); }
    auto const magic = static_cast<std::uint32_t>(system.f_type);
    FileFacts facts;
    set_file_system(facts, magic);
    facts.is_memory = magic == TMPFS_MAGIC || magic == RAMFS_MAGIC;
    auto const page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    facts.cached_fraction = cachestat_fraction(fd.get(), file.size_bytes, page_bytes);
    if (facts.cached_fraction < 0) { facts.cached_fraction = nowait_fraction(fd.get(), file.size_bytes); }
    facts.allows_direct = !facts.is_memory && direct_read_works(file.path);
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

Transfer::Transfer(FileRange range, std::span<std::byte> into, bool is_direct)
    : range_(range), into_(into), is_direct_(is_direct) {
    aim(range.begin);
}

void Transfer::aim(std::uint64_t next) {
    auto const page = align_down(range_.begin, kSlotAlignment);
    offset_ = is_direct_ ? align_down(next, kSlotAlignment) : next;
    auto const end = is_direct_ ? align_up(range_.end(), kSlotAlignment) : range_.end();
    target_ = into_.subspan(offset_ - page, end - offset_);
}

bool Transfer::advance(std::uint64_t got) {
    auto const next = offset_ + got;
    if (next >= range_.end()) { return true; }
    aim(next);
    return false;
}

void Transfer::stop_direct() {
    auto const next = std::max(offset_, range_.begin);
    is_direct_ = false;
    aim(next);
}

std::span<std::byte const> Transfer::data() const noexcept {
    return into_.subspan(range_.begin % kSlotAlignment, range_.size_bytes);
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
    throw Error(Errc::input, fmt::format("{}: the file ends there, but had {} B when its header was read", what,
                                         access.size_bytes()));
}

NextStep take_outcome(FileAccess const& access, Transfer& transfer, std::int64_t outcome) {
    auto const offset = transfer.offset();
    if (transfer.is_direct() && (outcome == -EINVAL || outcome == -EOPNOTSUPP)) {
        transfer.stop_direct();
        return NextStep::fall_back;
    }
    bool const is_empty = transfer.target().empty();  // of an empty range, nothing is what there is to read
    if (outcome < 0 || (outcome == 0 && !is_empty)) {
        check_outcome(access, {transfer.file(), offset, transfer.target().size()}, outcome);
        return NextStep::again;
    }
    if (transfer.advance(static_cast<std::uint64_t>(outcome))) { return NextStep::done; }
    if (transfer.offset() > offset) { return NextStep::again; }
    transfer.stop_direct();  // less than a page came: direct I/O would start there over and over
    return NextStep::fall_back;
}

}  // namespace shardwise
