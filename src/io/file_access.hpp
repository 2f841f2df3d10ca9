/// @file
/// One file of a checkpoint as readers open it, and what can be told about it beforehand.
#pragma once

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

/// Throws what a read call that gave nothing means; returns if it was only interrupted.
/// @param range what was asked for.
/// @param outcome 0 or a negative errno.
/// @throws Error input if the file ends early; Error io otherwise.
void check_outcome(FileAccess const& access, FileRange const& range, std::int64_t outcome);

}  // namespace shardwise
