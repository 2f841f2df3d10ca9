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

/// Back ends by the names the command line has for them.
enum class ReaderKind : std::uint8_t { mmap, uring, pread };
inline constexpr std::size_t kReaderKinds = 3;
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

    Reader& reader_of(std::uint32_t file) noexcept { return *readers_[static_cast<std::size_t>(choices_[file].kind)]; }
    std::span<FileReader const> choices() const noexcept { return choices_; }

    /// Polls all of them; waits briefly at the first that has work if asked to and nothing is ready.
    void poll(std::vector<ReadResult>& results, Wait wait);

    /// In the order of ReaderKind; zeros for kinds not in use.
    std::array<ReadCounters, kReaderKinds> counters() const;

    /// Puts another reader in place of a kind, for tests.
    void replace(ReaderKind kind, std::unique_ptr<Reader> reader);

   private:
    std::vector<FileReader> choices_;
    std::array<std::unique_ptr<Reader>, kReaderKinds> readers_;
};

}  // namespace shardwise
