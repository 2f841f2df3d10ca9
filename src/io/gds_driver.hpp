/// @file
/// cuFile as one process uses it: the driver, opened once, and the memory and files that are registered with it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "device/accelerator.hpp"
#include "io/cufile_errors.hpp"
#include "io/file_access.hpp"
#include "io/gds_reader.hpp"

namespace shardwise {

struct CufileLibrary;

/// How far GPUDirect Storage works.
enum class GdsState : std::uint8_t {
    works,
    gpu_missing,      ///< no driver, or no GPU
    library_missing,  ///< no libcufile
    symbol_missing,   ///< something else of that name, or a version that is too old
    device_missing,   ///< the kernel module is there, its device node is not, as in many containers
    driver_failed,    ///< with a code
    compatible,       ///< the environment turns cuFile's own copy through the host on
    memory_refused,   ///< with a code
    file_refused,     ///< with a code, if it was not O_DIRECT that failed
};
char const* to_string(GdsState state) noexcept;

/// What was found, in one sentence.
struct GdsProbe {
    GdsState state = GdsState::works;
    int code = 0;        ///< CUfileOpError, or 0
    std::string reason;  ///< empty if it works
    bool works() const noexcept { return state == GdsState::works; }
};

/// Where things are looked for; tests have others.
struct GdsSettings {
    std::string library = "libcufile.so.0";
    std::string module_folder = "/proc/driver/nvidia-fs";
    std::string device_node = "/dev/nvidia-fs0";
    bool needs_gpu = true;  ///< without one, the real library writes to stderr, and some versions hang
};

/// The library, with its driver open. cuFile does not survive a fork: open it after MPI_Init, and start no programs.
class GdsDriver {
   public:
    /// Opens the driver with the compatible mode off, so that what succeeds is real GPUDirect Storage, and makes sure
    /// that file descriptor 0 is what it was. Whatever fails is in probe(), and cuFile is left alone from then on.
    /// The calling thread must be attached to the GPU that will be read to.
    ///
    /// Sets CUFILE_LOGFILE_PATH if nothing else says where cuFile is to log: it would write to the working folder.
    explicit GdsDriver(GdsSettings const& settings = {});
    GdsDriver(GdsDriver const&) = delete;
    GdsDriver& operator=(GdsDriver const&) = delete;
    ~GdsDriver();

    GdsProbe const& probe() const noexcept { return probe_; }

    /// Only if probe() has found one that works.
    CufileLibrary const& cufile() const noexcept { return *cufile_; }

    /// Over all of the process, since the driver was opened.
    GdsPaths paths() const;

    /// Nothing may be registered any more. Never done by the destructor: cuFile crashes when it is closed while the
    /// process ends.
    void close() noexcept;

   private:
    GdsProbe open(GdsSettings const& settings);

    std::unique_ptr<CufileLibrary> cufile_;
    bool counts_paths_ = false;
    GdsProbe probe_;
};

/// The one of this process, opened by whoever asks first and never closed.
GdsDriver& gds_driver();

/// Memory of a GPU that cuFile may write to. It is deregistered before it is given back: the kernel may hang else.
class GdsBuffer {
   public:
    /// @param memory a whole allocation.
    /// @throws Error unavailable with cuFile's sentence.
    GdsBuffer(GdsDriver const& driver, Memory memory);

    std::span<std::byte> bytes() const noexcept { return memory_.bytes(); }

   private:
    struct Deregister {
        CufileLibrary const* cufile;
        void operator()(void* base) const noexcept;
    };

    Memory memory_;  // before the registration, which goes away first
    std::unique_ptr<void, Deregister> registration_;
};

/// A file of a checkpoint that cuFile may read. Any number of threads.
class GdsFile {
   public:
    /// @throws Error as FileAccess. That cuFile refuses the file is no exception, see probe().
    GdsFile(GdsDriver const& driver, FileRecord const& file);

    FileAccess const& access() const noexcept { return access_; }
    GdsProbe const& probe() const noexcept { return probe_; }

    /// One cuFileRead to @p target, a part of @p into. Offset, size and place must be multiples of 4096.
    CufileOutcome read(std::uint64_t offset, std::span<std::byte> target, GdsBuffer const& into) const noexcept;

    /// Whether cuFile is still worth trying: not once a failure was the whole file's.
    bool is_given_up() const noexcept { return is_given_up_; }
    void give_up() noexcept { is_given_up_ = true; }

   private:
    struct Deregister {
        CufileLibrary const* cufile;
        void operator()(void* handle) const noexcept;
    };

    FileAccess access_;  // before the registration, which goes away first
    std::unique_ptr<void, Deregister> registration_;
    GdsProbe probe_;
    std::atomic<bool> is_given_up_ = false;
};

/// Finds out for one file after the other whether GPUDirect Storage works for it.
class GdsTrial {
   public:
    /// Allocates a page of @p accelerator if the driver works.
    GdsTrial(GdsDriver const& driver, Accelerator& accelerator);

    /// Opens and registers the file, reads a page of it, and asks cuFile which way that went.
    /// @throws Error as FileAccess.
    GdsProbe probe(FileRecord const& file) const;

   private:
    GdsDriver const& driver_;
    GdsProbe probe_;
    std::optional<GdsBuffer> page_;
};

}  // namespace shardwise
