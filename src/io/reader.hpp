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

/// One range to read. `into` begins on a page and covers the range's pages; byte range.begin lands at
/// into[range.begin % kSlotAlignment]. With an empty `into` a reader that lends memory hands out its own.
struct ReadRequest {
    std::uint64_t id = 0;  ///< the caller's, given back
    FileRange range;
    std::span<std::byte> into;
};

/// A finished request: the range's bytes, or what went wrong.
struct ReadResult {
    std::uint64_t id = 0;
    std::span<std::byte const> data;
    std::optional<Error> error;
};

/// What a reader did, counted as it did it.
struct ReadCounters {
    std::uint64_t requests = 0;
    std::uint64_t bytes = 0;      ///< that came from storage or the page cache, over-read included; of lent memory, used ones
    std::uint64_t fallbacks = 0;  ///< requests that direct I/O could not finish
};

/// How long poll() may wait for the next completion.
enum class Wait : std::uint8_t { no, briefly };  ///< briefly: up to a millisecond

/// Reads byte ranges of a catalog's files, many at a time. One thread submits and polls.
///
/// Short reads and interruptions are dealt with inside; a file that ends early is an error of kind input, everything else
/// that the system refuses is of kind io; both name file, offset and size.
class Reader {
   public:
    virtual ~Reader() = default;

    /// True if one more request may be submitted now.
    virtual bool has_room() const noexcept = 0;

    /// True if requests may leave `into` empty; fault_in() and release() then go with the data.
    virtual bool lends_memory() const noexcept { return false; }

    /// Starts a request; only while has_room(). The memory must stay until the completion is polled.
    virtual void submit(ReadRequest const& request) = 0;

    /// Appends finished requests, in any order.
    virtual void poll(std::vector<ReadResult>& results, Wait wait) = 0;

    /// Brings lent memory in before it is used; any thread. @throws Error io when storage fails.
    virtual void fault_in(std::span<std::byte const> data);

    /// Lent memory is not used any more, and @p used_bytes of it were; any thread.
    virtual void release(std::span<std::byte const> data, std::uint64_t used_bytes) noexcept;

    virtual ReadCounters counters() const noexcept = 0;
};

/// Reads by mapping files; for files in the page cache. Lends memory.
std::unique_ptr<Reader> make_mmap_reader(std::span<FileRecord const> files);

/// Reads with `threads` threads that call pread.
/// @param wants_direct one flag a file: bypass the page cache where the file system allows it.
std::unique_ptr<Reader> make_pread_reader(std::span<FileRecord const> files, std::vector<bool> wants_direct, std::size_t threads);

/// Reads with io_uring.
/// @throws Error unavailable when it is not built (naming the CMake option) or the system refuses it.
std::unique_ptr<Reader> make_uring_reader(std::span<FileRecord const> files, std::vector<bool> wants_direct, std::size_t depth);

/// Empty if io_uring can be used here, else the reason.
std::string uring_obstacle();

}  // namespace shardwise
