/// @file
/// Files that appear under their name only when they are complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "util/handle.hpp"

namespace shardwise {

/// A file being written beside its final place, as `.NAME.PID.RANDOM.tmp`. Nothing stands under the final name until
/// commit(); without it the destructor removes what was written. A link at the final place is followed, and the mode of
/// a file that is replaced is kept.
class PendingFile {
   public:
    /// Makes the folder if need be.
    explicit PendingFile(std::string const& final_path);
    PendingFile(PendingFile&& other) noexcept;
    PendingFile& operator=(PendingFile&&) = delete;
    ~PendingFile();

    std::string const& temporary_path() const noexcept { return temporary_path_; }
    std::string const& final_path() const noexcept { return final_path_; }

    /// Forces the content to the disk; to be called when everything is written and closed.
    /// @throws Error io.
    void make_durable() const;

    /// Renames over the final place and forces the folder to the disk. @throws Error io.
    void commit();

   private:
    std::string final_path_;
    std::string temporary_path_;  ///< empty once committed
};

/// Writes a pending file front to back.
class FileWriter {
   public:
    /// @param size_bytes of the whole file; room for it is taken at once, so that a full disk shows before the first
    /// byte.
    FileWriter(PendingFile const& file, std::uint64_t size_bytes);

    /// @throws Error io with path, offset and the system's words.
    void write(std::span<std::byte const> bytes);

    /// Has the system begin to write what it holds of the file, so that little is left to wait for in the end.
    void start_writeback() noexcept;

    /// Closes the file; errors that the system kept until now come out here.
    void close();

   private:
    std::string path_;  ///< final path, for messages
    Fd fd_;
    std::uint64_t written_ = 0;
    std::uint64_t under_way_ = 0;  ///< of that: the system was told to write it
};

/// A small file, written and forced to the disk but without its name.
PendingFile pending_text(std::string const& path, std::string const& text);

/// Writes a small file atomically.
void write_file_atomically(std::string const& path, std::string const& text);

}  // namespace shardwise
