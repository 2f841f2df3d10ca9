#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "io/file_access.hpp"
#include "io/opened_files.hpp"
#include "io/reader.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; older C libraries lack the name
#endif

/// A whole file mapped for reading.
class MappedFile {
   public:
    explicit MappedFile(FileRecord const& file) : access_(file, false) {
        void* const address = ::mmap(nullptr, access_.size_bytes(), PROT_READ, MAP_SHARED, access_.fd(), 0);
        if (address == MAP_FAILED) {
            throw_errno(errno, fmt::format("map {} ({} B)", access_.path(), access_.size_bytes()));
        }
        bytes_ = {static_cast<std::byte const*>(address), access_.size_bytes()};
    }
    MappedFile(MappedFile const&) = delete;
    MappedFile& operator=(MappedFile const&) = delete;
    ~MappedFile() { ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size()); }

    std::span<std::byte const> bytes() const noexcept { return bytes_; }
    std::string const& path() const noexcept { return access_.path(); }

    /// Checks that the file still reaches to the end of @p range. A mapped page past the end of a file that was cut is
    /// a signal, not an error, and the rest of its last page reads as zeros.
    void check_size(FileRange const& range) const {
        struct stat status = {};
        if (::fstat(access_.fd(), &status) != 0) { throw_errno(errno, fmt::format("stat {}", path())); }
        auto const size = static_cast<std::uint64_t>(status.st_size);
        if (size >= range.end()) { return; }
        throw Error(Errc::input,
                    fmt::format("read {} at {} for {} B: the file was cut to {} B after its header was read", path(),
                                range.begin, range.size_bytes, size));
    }

   private:
    FileAccess access_;
    std::span<std::byte const> bytes_;
};

/// The pages that @p data touches.
std::span<std::byte> pages_of(std::span<std::byte const> data) {
    auto const begin = align_down(reinterpret_cast<std::uintptr_t>(data.data()), kSlotAlignment);
    auto const end = align_up(reinterpret_cast<std::uintptr_t>(data.data() + data.size()), kSlotAlignment);
    return {reinterpret_cast<std::byte*>(begin), end - begin};
}

class MmapReader final : public InlineReader {
   public:
    explicit MmapReader(std::span<FileRecord const> files)
        : files_(files.size(), [=](std::uint32_t file) { return std::make_unique<MappedFile>(files[file]); }) {}

    bool fills_room() const noexcept override { return false; }

    std::span<std::byte const> read(FileRange const& range, std::span<std::byte>) override {
        auto const& file = files_[range.file];
        auto const data = file.bytes().subspan(range.begin, range.size_bytes);
        fault_in(file, range, data);
        file.check_size(range);
        ++requests_;
        return data;
    }

    void release(std::span<std::byte const> data, std::uint64_t used_bytes) noexcept override {
        auto const pages = pages_of(data);
        ::madvise(pages.data(), pages.size(), MADV_DONTNEED);  // they count as resident otherwise
        used_bytes_ += used_bytes;
    }

    ReadCounters counters() const noexcept override { return {requests_, used_bytes_, 0}; }

   private:
    /// Brings pages in before they are touched: an error of the storage is a signal otherwise.
    static void fault_in(MappedFile const& file, FileRange const& range, std::span<std::byte const> data) {
        auto const pages = pages_of(data);
        while (::madvise(pages.data(), pages.size(), MADV_POPULATE_READ) != 0) {
            if (errno == EINTR || errno == EAGAIN) { continue; }
            if (errno == EINVAL) { return; }  // a kernel that cannot: pages come in when they are touched
            int const number = errno == EFAULT ? EIO : errno;
            file.check_size(range);
            throw_errno(number, fmt::format("read {} at {} for {} B", file.path(), range.begin, range.size_bytes));
        }
    }

    OpenedFiles<MappedFile> files_;
    std::atomic<std::uint64_t> requests_ = 0;
    std::atomic<std::uint64_t> used_bytes_ = 0;
};

}  // namespace

std::unique_ptr<InlineReader> make_mmap_reader(std::span<FileRecord const> files) {
    return std::make_unique<MmapReader>(files);
}

}  // namespace shardwise
