/// @file
/// GPUDirect Storage: the disk writes to the memory of a GPU, past the host. What a build without cuFile's header has
/// of it says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/accelerator.hpp"
#include "io/reader.hpp"

namespace shardwise {

class GdsDriver;

/// How cuFile says that its reads went, in calls.
struct GdsPaths {
    bool is_known = false;  ///< cuFile counts only from version 1.15 on; all is 0 before
    std::uint64_t p2p_reads = 0;        ///< by peer-to-peer DMA of PCIe
    std::uint64_t nvfs_reads = 0;       ///< by the kernel module nvidia-fs
    std::uint64_t posix_reads = 0;      ///< through memory of the host
    std::uint64_t unaligned_reads = 0;  ///< of all of them, those that did not begin and end on a page
    bool operator==(GdsPaths const&) const = default;
};

/// For people. Example: "12 by peer-to-peer DMA, 0 by nvidia-fs, 0 through the host, 0 unaligned"; "path unverified".
std::string to_text(GdsPaths const& paths);

/// What becomes of a range that GPUDirect Storage cannot read.
enum class GdsFallback : std::uint8_t {
    allowed,  ///< it is read into pinned memory and copied, and counted
    refused,  ///< it is an error
};

struct GdsOptions {
    std::size_t threads = 4;  ///< each waits for one read; 4 to 8 keep several disks busy
    GdsFallback fallback = GdsFallback::allowed;
    GdsDriver const* driver = nullptr;  ///< must outlive the reader; null: the one of this process
};

/// As Reader; requests land in memory of a GPU.
class GdsReader : public Reader {
   public:
    /// Since this reader was made, over all of the process.
    virtual GdsPaths paths() const = 0;
};

/// Reads with cuFile into registered memory of a GPU. Where it cannot, with GdsFallback::allowed: each range that fails
/// is read once more, all of it, by pread into pinned memory of 1 MiB a thread, and copied; after a failure that is not
/// the range's alone, all of the file's ranges.
///
/// @param staging whole allocations of @p accelerator that each request's `into` lies in. They are registered for as
///                long as the reader lives, and kept.
/// @throws Error unavailable where GPUDirect Storage does not work at all, or refuses the memory; where it is not built
///         in, naming the CMake option.
std::unique_ptr<GdsReader> make_gds_reader(std::span<FileRecord const> files, Accelerator& accelerator,
                                           std::span<Memory const> staging, GdsOptions options);

/// For each file, empty if a page of it was read by real GPUDirect Storage into memory of @p accelerator, which a trial
/// shows; else why not. Attaches the calling thread to @p accelerator.
/// @param driver null: the one of this process.
/// @throws Error as FileAccess.
std::vector<std::string> gds_obstacles(std::span<FileRecord const> files, Accelerator& accelerator,
                                       GdsDriver const* driver = nullptr);

/// The same for one file.
std::string gds_obstacle(FileRecord const& file, Accelerator& accelerator, GdsDriver const* driver = nullptr);

}  // namespace shardwise
