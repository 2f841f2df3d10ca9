/// @file
/// Which reader each file gets and why, and all of them behind one door.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <shardwise/back_ends.hpp>
#include <shardwise/trace.hpp>

#include "device/accelerator.hpp"
#include "io/file_access.hpp"
#include "io/gds_reader.hpp"
#include "io/reader.hpp"
#include "io/uploading_reader.hpp"

namespace shardwise {

enum class ReaderKind : std::uint8_t {
    cached,  ///< pread on the thread that needs the bytes
    mmap,
    uring,
    pread,   ///< pread by a pool of threads
    gds,     ///< GPUDirect Storage
};
inline constexpr std::size_t kReaderKinds = 5;

/// The name the command line has for it; both ways to call pread have the same.
char const* to_string(ReaderKind kind) noexcept;

/// The reader of one file.
struct FileReader {
    ReaderKind kind = ReaderKind::pread;
    bool is_direct = false;  ///< bypasses the page cache
    std::string reason;
};

/// Whose memory a file is read into.
struct DeviceReading {
    bool is_gpu = false;
    std::string gds_obstacle;  ///< why this file cannot be read by GPUDirect Storage; empty if it can
};

/// Picks a reader from what a file was found to be. For a GPU none of the readers that work in place.
/// @param uring_reason why io_uring cannot be used; empty if it can.
/// @throws Error unavailable when the choice cannot be had.
FileReader choose_reader(FileFacts const& facts, ReaderChoice choice, std::string const& uring_reason,
                         DeviceReading const& device = {});

struct ReaderLimits {
    std::size_t depth = 16;    ///< requests under way with io_uring
    std::size_t threads = 4;   ///< of the pread pool
};

/// Threads of the pread pool that feed a GPU, which copies faster than four of them do, where a rank may use @p cores.
std::size_t gpu_pread_threads(std::size_t cores) noexcept;

/// What readers need to fill the memory of a GPU.
struct GpuReading {
    Accelerator& accelerator;     ///< must outlive the readers
    std::vector<Memory> staging;  ///< whole allocations that requests' `into` lie in
    UploadOptions ring = {};      ///< pinned memory; shared out if more than one kind of reader goes through it
    GdsOptions gds = {};
};

/// One reader of each kind that some file uses. Counters are kept apart by kind.
class ReaderSet {
   public:
    /// @param gpu whose memory is read into; none: the host's. GPUDirect Storage that cannot be set up after all is
    ///            replaced by the pread pool, with the reason in choices(), unless it must not fall back.
    /// @throws Error unavailable if a reader cannot be had.
    ReaderSet(std::span<FileRecord const> files, std::vector<FileReader> choices, ReaderLimits limits,
              std::optional<GpuReading> const& gpu = {});

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

    /// From now on @p log gets an event for every read, from its submission until it is taken in.
    void set_log(TraceLog* log) noexcept { log_ = log; }

    /// Pinned memory that reads for a GPU go through.
    std::uint64_t staging_bytes() const noexcept { return pinned_bytes_; }

    /// How GPUDirect Storage went; nothing if no file uses it.
    std::optional<GdsPaths> gds_paths() const;

    /// Puts another reader in place of a kind, for tests.
    void replace(ReaderKind kind, std::unique_ptr<Reader> reader) {
        readers_[static_cast<std::size_t>(kind)] = std::move(reader);
    }

    /// The reader of a kind; null if no file uses it.
    std::unique_ptr<Reader> take(ReaderKind kind) { return std::move(readers_[static_cast<std::size_t>(kind)]); }

   private:
    void poll_readers(std::vector<ReadResult>& results, Wait wait);
    void note(ReadRequest const& request);
    void note_ends(std::span<ReadResult const> results);
    bool uses(ReaderKind kind) const noexcept;
    void make_host_readers(std::span<FileRecord const> files, ReaderLimits limits);
    void make_gpu_readers(std::span<FileRecord const> files, ReaderLimits limits, GpuReading const& gpu);
    void make_gds(std::span<FileRecord const> files, GpuReading const& gpu);
    std::unique_ptr<Reader> make_host_reader(ReaderKind kind, std::span<FileRecord const> files,
                                             ReaderLimits limits) const;
    std::size_t index_of(std::uint32_t file) const noexcept { return static_cast<std::size_t>(choices_[file].kind); }

    std::vector<FileReader> choices_;
    std::array<std::unique_ptr<Reader>, kReaderKinds> readers_;
    std::array<std::unique_ptr<InlineReader>, kReaderKinds> inline_readers_;
    std::vector<ReadResult> finished_;  ///< by inline readers
    std::uint64_t pinned_bytes_ = 0;
    TraceLog* log_ = nullptr;
    std::map<std::uint64_t, TraceEvent> noted_;  ///< reads under way, by id
};

}  // namespace shardwise
