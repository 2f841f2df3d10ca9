#include "util/file.hpp"

#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <shardwise/error.hpp>

namespace shardwise {

void FdTraits::close(int fd) noexcept { ::close(fd); }

Fd open_for_read(std::string const& path, int extra_flags) {
    int const raw = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | extra_flags);
    if (raw < 0) { throw_errno(errno, fmt::format("open {}", path)); }
    return Fd(raw);
}

std::uint64_t file_size(Fd const& fd, std::string const& path) {
    struct stat status = {};
    if (::fstat(fd.get(), &status) != 0) { throw_errno(errno, fmt::format("stat {}", path)); }
    if (!S_ISREG(status.st_mode)) { throw Error(Errc::input, fmt::format("{} is not a regular file", path)); }
    return static_cast<std::uint64_t>(status.st_size);
}

void check_file_ends(int fd, std::string const& what, std::uint64_t end) {
    struct stat status = {};
    if (::fstat(fd, &status) != 0) { throw_errno(errno, what); }
    if (static_cast<std::uint64_t>(status.st_size) < end) { return; }
    throw Error(Errc::io, fmt::format("{}: nothing came, though the file has {} B", what, status.st_size));
}

void read_exactly(Fd const& fd, std::string const& path, std::uint64_t offset, std::span<std::byte> into) {
    std::size_t done = 0;
    while (done < into.size()) {
        ssize_t const got =
            ::pread(fd.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
        if (got < 0) {
            if (errno == EINTR) { continue; }
            throw_errno(errno, fmt::format("read {} at {} for {} B", path, offset + done, into.size() - done));
        }
        if (got == 0) {
            auto const what = fmt::format("read {} at {} for {} B", path, offset, into.size());
            check_file_ends(fd.get(), what, offset + into.size());
            throw Error(Errc::input, fmt::format("{}: the file ends at {}", what, offset + done));
        }
        done += static_cast<std::size_t>(got);
    }
}

std::string read_text(std::string const& path) {
    constexpr std::uint64_t kMaxBytes = 64ULL << 20U;
    Fd const fd = open_for_read(path);
    auto const size = file_size(fd, path);
    if (size > kMaxBytes) {
        throw Error(Errc::input, fmt::format("{} has {} B, more than a text file should", path, size));
    }
    constexpr std::size_t kPadding = 64;  // parsers that read whole vectors would copy a text without
    std::string text;
    text.reserve(size + kPadding);
    text.resize(size);
    read_exactly(fd, path, 0, std::as_writable_bytes(std::span(text)));
    return text;
}

}  // namespace shardwise
