#include "io/file_system.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <shardwise/error.hpp>

#include "util/checked.hpp"

namespace shardwise {
namespace {

enum class Storage : std::uint8_t { drive, memory, network };

struct Known {
    std::uint32_t magic;
    char const* name;
    Storage storage = Storage::drive;
};

// Those that linux/magic.h leaves to the file systems' own sources.
constexpr std::uint32_t kLustre = 0x0BD00BD0;
constexpr std::uint32_t kXfs = 0x58465342;
constexpr std::uint32_t kFuse = 0x65735546;
constexpr std::uint32_t kCeph = 0x00C36400;
constexpr std::uint32_t kGpfs = 0x47504653;
constexpr std::uint32_t kBeegfs = 0x19830326;
constexpr std::uint32_t kZfs = 0x2FC12FC1;

constexpr std::array<Known, 15> kKnown = {{
    {EXT4_SUPER_MAGIC, "ext4"},
    {kXfs, "xfs"},
    {BTRFS_SUPER_MAGIC, "btrfs"},
    {TMPFS_MAGIC, "tmpfs", Storage::memory},
    {RAMFS_MAGIC, "ramfs", Storage::memory},
    {OVERLAYFS_SUPER_MAGIC, "overlay"},
    {NFS_SUPER_MAGIC, "nfs", Storage::network},
    {CIFS_SUPER_MAGIC, "cifs", Storage::network},
    {SMB2_SUPER_MAGIC, "smb3", Storage::network},
    {V9FS_MAGIC, "9p"},
    {kLustre, "lustre", Storage::network},
    {kCeph, "ceph", Storage::network},
    {kGpfs, "gpfs", Storage::network},
    {kBeegfs, "beegfs", Storage::network},
    {kZfs, "zfs"},
}};

constexpr std::array<std::string_view, 9> kLocalFuse = {
    "fuseblk",       "fuse.bindfs",     "fuse.fuse-overlayfs", "fuse.fuse2fs",      "fuse.gocryptfs",
    "fuse.mergerfs", "fuse.squashfuse", "fuse.squashfuse_ll",  "fuse.unionfs-fuse",
};

std::string fuse_type_of(int fd, std::string const& path) {
    struct stat status = {};
    if (::fstat(fd, &status) != 0) { throw_errno(errno, fmt::format("stat {}", path)); }
    std::ifstream in("/proc/self/mountinfo");
    std::string const text{std::istreambuf_iterator<char>(in), {}};
    auto const type = mounted_type(text, status.st_dev);
    return std::string(type.empty() ? "fuse" : type);
}

}  // namespace

FileSystem file_system_of(int fd, std::string const& path) {
    struct statfs system = {};
    if (::fstatfs(fd, &system) != 0) { throw_errno(errno, fmt::format("statfs {}", path)); }
    auto const magic = static_cast<std::uint32_t>(system.f_type);
    if (magic == kFuse) { return fuse_file_system(fuse_type_of(fd, path)); }
    auto const known = std::ranges::find(kKnown, magic, &Known::magic);
    if (known == kKnown.end()) { return {.name = fmt::format("type {:#x}", magic)}; }
    return {known->name, known->storage == Storage::network, known->storage == Storage::memory};
}

FileSystem fuse_file_system(std::string_view type) {
    return {.name = std::string(type), .is_network = std::ranges::find(kLocalFuse, type) == kLocalFuse.end()};
}

/// A line: `36 35 0:39 / /mnt rw,noatime master:1 - fuse.sshfs host:/folder rw`, as many fields before the hyphen as
/// there are.
std::string_view mounted_type(std::string_view mountinfo, dev_t device) {
    auto const wanted = fmt::format(" {}:{} ", major(device), minor(device));
    constexpr std::string_view kBeforeType = " - ";
    while (!mountinfo.empty()) {
        auto const line = mountinfo.substr(0, mountinfo.find('\n'));
        mountinfo.remove_prefix(std::min(mountinfo.size(), line.size() + 1));
        auto const parent = line.find(' ');
        auto const number = parent == line.npos ? line.npos : line.find(' ', parent + 1);
        auto const type = line.find(kBeforeType);
        if (number == line.npos || type == line.npos || !line.substr(number).starts_with(wanted)) { continue; }
        auto const rest = line.substr(type + kBeforeType.size());
        return rest.substr(0, rest.find(' '));
    }
    return {};
}

}  // namespace shardwise
