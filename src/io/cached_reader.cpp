#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <memory>

#include <sys/uio.h>
#include <unistd.h>

#include "io/file_access.hpp"
#include "io/reader.hpp"

namespace shardwise {
namespace {

class CachedReader final : public InlineReader {
   public:
    explicit CachedReader(std::span<FileRecord const> files) : files_(open_when_read(files)) {}

    bool fills_room() const noexcept override { return true; }

    std::span<std::byte const> read(FileRange const& range, std::span<std::byte> room) override {
        auto const target = room.first(range.size_bytes);
        fill(range, target);
        ++requests_;
        bytes_ += range.size_bytes;
        return target;
    }

    void scatter(FileRange const& range, std::span<std::span<std::byte> const> into) override {
        auto at = range.begin;
        while (!into.empty()) {
            auto const some = into.first(std::min(into.size(), kMostStretches));
            at = fill_some(range.file, at, some);
            into = into.subspan(some.size());
        }
        ++requests_;
        bytes_ += range.size_bytes;
    }

    void release(std::span<std::byte const>, std::uint64_t) noexcept override {}

    ReadCounters counters() const noexcept override { return {requests_, bytes_, 0}; }

   private:
    static constexpr std::size_t kMostStretches = IOV_MAX;

    void fill(FileRange const& range, std::span<std::byte> target) {
        auto const& access = files_[range.file];
        for (std::uint64_t done = 0; done < range.size_bytes;) {
            auto const rest = target.subspan(done);
            ssize_t const got = ::pread(access.fd(), rest.data(), rest.size(), static_cast<off_t>(range.begin + done));
            if (got <= 0) {
                check_outcome(access, {range.file, range.begin + done, rest.size()}, got < 0 ? -errno : 0);
            }
            done += static_cast<std::uint64_t>(std::max<ssize_t>(got, 0));
        }
    }

    /// By one call if all goes well; else one stretch after the other, which tells what is wrong.
    /// @return where in the file the next stretch begins.
    std::uint64_t fill_some(std::uint32_t file, std::uint64_t begin, std::span<std::span<std::byte> const> into) {
        std::array<iovec, kMostStretches> list;
        std::uint64_t bytes = 0;
        for (std::size_t i = 0; i < into.size(); ++i) {
            list[i] = {into[i].data(), into[i].size()};
            bytes += into[i].size();
        }
        auto const got =
            ::preadv(files_[file].fd(), list.data(), static_cast<int>(into.size()), static_cast<off_t>(begin));
        if (got == static_cast<ssize_t>(bytes)) { return begin + bytes; }
        for (auto const& stretch : into) {
            fill({file, begin, stretch.size()}, stretch);
            begin += stretch.size();
        }
        return begin;
    }

    OpenedFiles<FileAccess> files_;
    std::atomic<std::uint64_t> requests_ = 0;
    std::atomic<std::uint64_t> bytes_ = 0;
};

}  // namespace

std::unique_ptr<InlineReader> make_cached_reader(std::span<FileRecord const> files) {
    return std::make_unique<CachedReader>(files);
}

}  // namespace shardwise
