#include "sink/atomic_file.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <random>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

namespace fs = std::filesystem;

/// Where a write to @p path really goes: the end of a chain of links, and a full path, so that it has a folder.
fs::path resolved(std::string const& path) {
    std::error_code ignored;
    auto const full = fs::absolute(path);
    auto const target = fs::weakly_canonical(full, ignored);
    return target.empty() ? full : target;
}

/// Mode of the file that is replaced, or what the process' mask leaves of 0666.
mode_t wanted_mode(std::string const& path) {
    struct stat status = {};
    if (::stat(path.c_str(), &status) == 0) { return status.st_mode & 07777U; }
    mode_t const mask = ::umask(0);
    ::umask(mask);
    return 0666U & ~mask;
}

void sync_path(std::string const& path, int flags) {
    Fd const fd(::open(path.c_str(), flags | O_CLOEXEC));
    if (!fd) { throw_errno(errno, fmt::format("open {} to force it to the disk", path)); }
    // Some network file systems cannot do this for folders; the data itself is safe then.
    bool const is_refused_folder =
        ::fsync(fd.get()) != 0 && !((flags & O_DIRECTORY) != 0 && (errno == EINVAL || errno == ENOTSUP));
    if (is_refused_folder) { throw_errno(errno, fmt::format("force {} to the disk", path)); }
}

}  // namespace

PendingFile::PendingFile(std::string const& final_path) : final_path_(resolved(final_path).string()) {
    fs::path const target(final_path_);
    std::error_code error;
    fs::create_directories(target.parent_path(), error);
    if (error) {
        throw Error(Errc::io, fmt::format("make folder {}: {}", target.parent_path().string(), error.message()));
    }
    std::random_device random;
    temporary_path_ =
        (target.parent_path() / fmt::format(".{}.{}.{:08x}.tmp", target.filename().string(), ::getpid(), random()))
            .string();
    Fd const fd(::open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) {
        int const number = errno;
        auto const path = std::exchange(temporary_path_, {});
        throw_errno(number, fmt::format("create {}", path));
    }
    if (::fchmod(fd.get(), wanted_mode(final_path_)) != 0) {
        int const number = errno;
        ::unlink(temporary_path_.c_str());  // no destructor runs for an object that was not made
        throw_errno(number, fmt::format("set the mode of {}", temporary_path_));
    }
}

PendingFile::PendingFile(PendingFile&& other) noexcept
    : final_path_(std::move(other.final_path_)), temporary_path_(std::exchange(other.temporary_path_, {})) {}

PendingFile::~PendingFile() {
    if (!temporary_path_.empty()) { ::unlink(temporary_path_.c_str()); }
}

void PendingFile::make_durable() const { sync_path(temporary_path_, O_RDONLY); }

void PendingFile::commit() {
    if (::rename(temporary_path_.c_str(), final_path_.c_str()) != 0) {
        throw_errno(errno, fmt::format("rename {} to {}", temporary_path_, final_path_));
    }
    temporary_path_.clear();
    sync_path(fs::path(final_path_).parent_path().string(), O_RDONLY | O_DIRECTORY);
}

FileWriter::FileWriter(PendingFile const& file, std::uint64_t size_bytes)
    : path_(file.final_path()), fd_(::open(file.temporary_path().c_str(), O_WRONLY | O_CLOEXEC)) {
    if (!fd_) { throw_errno(errno, fmt::format("open {} for writing", path_)); }
    if (size_bytes == 0) { return; }
    int const result = ::fallocate(fd_.get(), 0, 0, static_cast<off_t>(size_bytes));
    if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
        throw_errno(errno, fmt::format("reserve {} B for {}", size_bytes, path_));
    }
}

void FileWriter::write(std::span<std::byte const> bytes) {
    constexpr std::size_t kMostAtOnce = 1ULL << 30U;  // the kernel stops at 2 GiB less a page
    while (!bytes.empty()) {
        ssize_t const done = ::write(fd_.get(), bytes.data(), std::min(bytes.size(), kMostAtOnce));
        if (done < 0) {
            if (errno == EINTR) { continue; }
            throw_errno(errno, fmt::format("write {} at {} for {} B", path_, written_, bytes.size()));
        }
        written_ += static_cast<std::uint64_t>(done);
        bytes = bytes.subspan(static_cast<std::size_t>(done));
    }
}

void FileWriter::start_writeback() noexcept {
    // Not every file system can do it; making the file durable does all of it in any case.
    static_cast<void>(::sync_file_range(fd_.get(), static_cast<off_t>(under_way_),
                                        static_cast<off_t>(written_ - under_way_), SYNC_FILE_RANGE_WRITE));
    under_way_ = written_;
}

void FileWriter::close() {
    if (::close(fd_.release()) != 0 && errno != EINTR) {
        throw_errno(errno, fmt::format("close {} after {} B", path_, written_));
    }
}

PendingFile pending_text(std::string const& path, std::string const& text) {
    PendingFile file(path);
    FileWriter writer(file, text.size());
    writer.write(std::as_bytes(std::span(text)));
    writer.close();
    file.make_durable();
    return file;
}

void write_file_atomically(std::string const& path, std::string const& text) { pending_text(path, text).commit(); }

}  // namespace shardwise
