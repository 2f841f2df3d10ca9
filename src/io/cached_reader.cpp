#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>

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
        auto const& access = files_[range.file];
        auto const target = room.first(range.size_bytes);
        for (std::uint64_t done = 0; done < range.size_bytes;) {
            auto const rest = target.subspan(done);
            ssize_t const got = ::pread(access.fd(), rest.data(), rest.size(), static_cast<off_t>(range.begin + done));
            if (got <= 0) {
                check_outcome(access, {range.file, range.begin + done, rest.size()}, got < 0 ? -errno : 0);
            }
            done += static_cast<std::uint64_t>(std::max<ssize_t>(got, 0));
        }
        ++requests_;
        bytes_ += range.size_bytes;
        return target;
    }

    void release(std::span<std::byte const>, std::uint64_t) noexcept override {}

    ReadCounters counters() const noexcept override { return {requests_, bytes_, 0}; }

   private:
    OpenedFiles<FileAccess> files_;
    std::atomic<std::uint64_t> requests_ = 0;
    std::atomic<std::uint64_t> bytes_ = 0;
};

}  // namespace

std::unique_ptr<InlineReader> make_cached_reader(std::span<FileRecord const> files) {
    return std::make_unique<CachedReader>(files);
}

}  // namespace shardwise
