/// @file
/// Which reader each file gets and why, and all of them behind one door.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <shardwise/back_ends.hpp>

#include "io/file_access.hpp"
#include "io/reader.hpp"

namespace shardwise {

enum class ReaderKind : std::uint8_t {
    cached,  ///< pread on the thread that needs the bytes
    mmap,
    uring,
    pread,   ///< pread by a pool of threads
};
inline constexpr std::size_t kReaderKinds = 4;

/// The name the command line has for it; both ways to call pread have the same.
char const* to_string(ReaderKind kind) noexcept;

/// The reader of one file.
struct FileReader {
    ReaderKind kind = ReaderKind::pread;
    bool is_direct = false;  ///< bypasses the page cache
    std::string reason;
};

/// Picks a reader from what a file was found to be.
/// @param uring_reason why io_uring cannot be used; empty if it can.
/// @throws Error unavailable when the choice cannot be had.
FileReader choose_reader(FileFacts const& facts, ReaderChoice choice, std::string const& uring_reason);

struct ReaderLimits {
    std::size_t depth = 16;    ///< requests under way with io_uring
    std::size_t threads = 4;   ///< of the pread pool
};

/// One reader of each kind that some file uses. Counters are kept apart by kind.
class ReaderSet {
   public:
    ReaderSet(std::span<FileRecord const> files, std::vector<FileReader> choices, ReaderLimits limits);

    std::span<FileReader const> choices() const noexcept { return choices_; }

    /// The reader of a file whose bytes are in memory; null for others.
    InlineReader* inline_reader_of(std::uint32_t file) noexcept { return inline_readers_[index_of(file)].get(); }

    /// As Reader, for any file. Requests to inline readers are done at once.
    bool has_room(std::uint32_t file) const noexcept;
    void submit(ReadRequest const& request);
    void start();
    void poll(std::vector<ReadResult>& results, Wait wait);

    /// In the order of ReaderKind; zeros for kinds not in use.
    std::array<ReadCounters, kReaderKinds> counters() const;

    /// Puts another reader in place of a kind, for tests.
    void replace(ReaderKind kind, std::unique_ptr<Reader> reader) {
        readers_[static_cast<std::size_t>(kind)] = std::move(reader);
    }

    /// The reader of a kind; null if no file uses it.
    std::unique_ptr<Reader> take(ReaderKind kind) { return std::move(readers_[static_cast<std::size_t>(kind)]); }

   private:
    std::size_t index_of(std::uint32_t file) const noexcept { return static_cast<std::size_t>(choices_[file].kind); }

    std::vector<FileReader> choices_;
    std::array<std::unique_ptr<Reader>, kReaderKinds> readers_;
    std::array<std::unique_ptr<InlineReader>, kReaderKinds> inline_readers_;
    std::vector<ReadResult> finished_;  ///< by inline readers
};

}  // namespace shardwise
