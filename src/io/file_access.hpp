/// @file
/// One file of a checkpoint as readers open it, and what can be told about it beforehand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <shardwise/plan.hpp>

#include "io/opened_files.hpp"
#include "util/handle.hpp"

namespace shardwise {

/// Looks at one file as this node sees it.
/// @throws Error io.
FileFacts probe_file(FileRecord const& file);

/// Descriptors of one file: buffered always, direct where wanted and allowed.
class FileAccess {
   public:
    /// @throws Error io; Error input if the file's size is not what the catalog says.
    FileAccess(FileRecord const& file, bool wants_direct);

    std::string const& path() const noexcept { return path_; }
    std::uint64_t size_bytes() const noexcept { return size_bytes_; }
    bool allows_direct() const noexcept { return static_cast<bool>(direct_); }
    int fd() const noexcept { return buffered_.get(); }
    int direct_fd() const noexcept { return direct_.get(); }

   private:
    std::string path_;
    std::uint64_t size_bytes_;
    Fd buffered_;
    Fd direct_;
};

/// The files of a catalog, opened when they are first read.
/// @param wants_direct one flag a file; none: no file.
OpenedFiles<FileAccess> open_when_read(std::span<FileRecord const> files, std::vector<bool> wants_direct = {});

/// The part of a range that is still to be read, and where it lands. Reads that came back short go on from where they
/// stopped; direct ones from the page before it.
///
/// `into` begins on a page; byte range.begin lands at into[range.begin % kSlotAlignment], whichever way it is read.
class Transfer {
   public:
    Transfer(FileRange range, std::span<std::byte> into, bool is_direct);

    std::uint32_t file() const noexcept { return range_.file; }
    std::uint64_t offset() const noexcept { return offset_; }             ///< in the file, of the next read
    std::span<std::byte> target() const noexcept { return target_; }      ///< of the next read
    bool is_direct() const noexcept { return is_direct_; }

    /// Counts @p got bytes as read. True when all of the range is there.
    bool advance(std::uint64_t got);

    /// Starts over from where it stopped, buffered.
    void stop_direct();

    /// The bytes of the range, once advance() has said so.
    std::span<std::byte const> data() const noexcept;

    /// Descriptor for the next read.
    int fd(FileAccess const& access) const noexcept { return is_direct_ ? access.direct_fd() : access.fd(); }

   private:
    void aim(std::uint64_t next);

    FileRange range_;
    std::span<std::byte> into_;
    bool is_direct_;
    std::uint64_t offset_ = 0;
    std::span<std::byte> target_;
};

/// Throws what a read call that gave nothing means; returns if it was only interrupted.
/// @param range what was asked for.
/// @param outcome 0 or a negative errno.
/// @throws Error input if the file ends early; Error io otherwise.
void check_outcome(FileAccess const& access, FileRange const& range, std::int64_t outcome);

/// What to do after one read call.
enum class NextStep : std::uint8_t {
    done,          ///< all of the range is there
    again,         ///< read on
    fall_back,     ///< read on, buffered: the file system refuses direct I/O after all
};

/// Takes in what one read call of a transfer gave.
/// @param outcome bytes read, or a negative errno.
/// @throws Error as check_outcome.
NextStep take_outcome(FileAccess const& access, Transfer& transfer, std::int64_t outcome);

}  // namespace shardwise
