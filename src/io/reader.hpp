/// @file
/// The seam between the executor and storage: byte ranges in, completions out as values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <shardwise/error.hpp>
#include <shardwise/plan.hpp>

namespace shardwise {

/// Whole pages of a file that are read to a place of their own. Its address is one that direct I/O of the file can
/// land at (FileFacts::memory_alignment).
struct Landing {
    std::uint64_t begin = 0;  ///< in the file, a multiple of kSlotAlignment, as the length is
    std::span<std::byte> into;
};

/// One range to read. `into` begins on a page and covers the range's pages; byte range.begin lands at
/// into[range.begin % kSlotAlignment].
struct ReadRequest {
    std::uint64_t id = 0;  ///< the caller's, given back
    FileRange range;
    std::span<std::byte> into;
    /// Parts of the range that land elsewhere, in order; for readers of host memory that go on by themselves only
    std::span<Landing const> landings = {};
};

/// A finished request: the range's bytes but for those that landed elsewhere, or what went wrong.
struct ReadResult {
    std::uint64_t id = 0;
    std::span<std::byte const> data;
    std::optional<Error> error;
};

/// What a reader did, counted as it did it.
struct ReadCounters {
    std::uint64_t requests = 0;
    /// That came from storage or the page cache, over-read included; of mapped files, used ones
    std::uint64_t bytes = 0;
    std::uint64_t fallbacks = 0;  ///< requests that direct I/O, or GPUDirect Storage, could not finish
    std::uint64_t fallback_bytes = 0;  ///< of the bytes, those that went through the host instead of GPUDirect Storage
};

/// How long poll() may wait for the next completion.
enum class Wait : std::uint8_t { no, briefly };  ///< briefly: up to a millisecond

/// Reads byte ranges of a catalog's files, many at a time. One thread submits and polls.
///
/// Short reads and interruptions are dealt with inside; a file that ends early is an error of kind input, everything
/// else that the system refuses is of kind io; both name file, offset and size.
class Reader {
   public:
    virtual ~Reader() = default;

    /// True if one more request may be submitted now.
    virtual bool has_room() const noexcept = 0;

    /// Queues a request; only while has_room(). The memory must stay until the completion is polled.
    virtual void submit(ReadRequest const& request) = 0;

    /// Hands queued requests to the system, many at once; poll() does so, too.
    virtual void start() {}

    /// Appends finished requests, in any order.
    virtual void poll(std::vector<ReadResult>& results, Wait wait) = 0;

    virtual ReadCounters counters() const noexcept = 0;
};

/// Reads on the thread that asks, for files whose bytes are in memory already: there is nothing to wait for. Any number
/// of threads.
class InlineReader {
   public:
    virtual ~InlineReader() = default;

    /// True if read() always fills @p room, so that runs can be read straight into place.
    virtual bool fills_room() const noexcept = 0;

    /// The bytes of @p range: in the first bytes of @p room, which is as long at least, or in memory of the reader's
    /// own.
    /// @throws Error as Reader.
    virtual std::span<std::byte const> read(FileRange const& range, std::span<std::byte> room) = 0;

    /// Reads @p range into stretches of memory, one after the other, as long as the range together; only where
    /// fills_room().
    /// @throws Error as Reader.
    virtual void scatter(FileRange const& range, std::span<std::span<std::byte> const> into) {
        auto at = range.begin;
        for (auto const& stretch : into) {
            read({range.file, at, stretch.size()}, stretch);
            at += stretch.size();
        }
    }

    /// Says that what read() gave is not used any more, and that @p used_bytes of it were.
    virtual void release(std::span<std::byte const> data, std::uint64_t used_bytes) noexcept = 0;

    virtual ReadCounters counters() const noexcept = 0;
};

/// Copies out of the page cache with pread. Straight into a tensor where it can: nothing has to be mapped, which costs
/// more than the copy where the cache consists of small pages.
std::unique_ptr<InlineReader> make_cached_reader(std::span<FileRecord const> files);

/// Maps files and lends the mapped bytes.
std::unique_ptr<InlineReader> make_mmap_reader(std::span<FileRecord const> files);

/// Reads with `threads` threads that call pread.
/// @param wants_direct one flag a file: bypass the page cache where the file system allows it.
std::unique_ptr<Reader> make_pread_reader(std::span<FileRecord const> files, std::vector<bool> wants_direct,
                                          std::size_t threads);

/// Reads with io_uring.
/// @throws Error unavailable when it is not built (naming the CMake option) or the system refuses it.
std::unique_ptr<Reader> make_uring_reader(std::span<FileRecord const> files, std::vector<bool> wants_direct,
                                          std::size_t depth);

/// Empty if io_uring can be used here, else the reason.
std::string uring_obstacle();

}  // namespace shardwise
