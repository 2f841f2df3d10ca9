#include "io/gds_driver.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <shardwise/error.hpp>

#include "io/cufile_library.hpp"
#include "io/cufile_settings.hpp"
#include "util/units.hpp"

namespace shardwise {
namespace {

/// Keeps descriptor 0 what it is. Opening the driver may close it, and what is opened next would be taken for the
/// standard input; one that is closed beforehand would become a file of cuFile's.
class StandardInput {
   public:
    StandardInput() {
        if (::fcntl(0, F_GETFD) < 0) { static_cast<void>(::open("/dev/null", O_RDONLY)); }  // the lowest number: 0
        copy_.reset(::fcntl(0, F_DUPFD_CLOEXEC, 3));
        is_known_ = ::fstat(0, &before_) == 0;
    }
    StandardInput(StandardInput const&) = delete;
    StandardInput& operator=(StandardInput const&) = delete;
    ~StandardInput() {
        struct stat now = {};
        bool const is_same = ::fstat(0, &now) == 0 && now.st_dev == before_.st_dev && now.st_ino == before_.st_ino;
        if (is_known_ && !is_same) { ::dup2(copy_.get(), 0); }
    }

   private:
    struct stat before_ = {};
    bool is_known_ = false;
    Fd copy_;
};

GdsProbe failed(GdsState state, CUfileError_t error, std::string const& what) {
    return {state, error.err, fmt::format("{}: {}", what, cufile_sentence(error.err, error.cu_err))};
}

bool exists(std::string const& path) {
    return ::access(path.c_str(), F_OK) == 0;
}

}  // namespace

char const* to_string(GdsState state) noexcept {
    switch (state) {
        case GdsState::works: return "works";
        case GdsState::gpu_missing: return "GPU missing";
        case GdsState::library_missing: return "library missing";
        case GdsState::symbol_missing: return "symbol missing";
        case GdsState::device_missing: return "device node missing";
        case GdsState::driver_failed: return "driver open failed";
        case GdsState::compatible: return "compatible mode";
        case GdsState::memory_refused: return "memory refused";
        case GdsState::file_refused: return "file refused";
    }
    return "unknown";
}

GdsDriver::GdsDriver(GdsSettings const& settings) : probe_(open(settings)) {}

GdsDriver::~GdsDriver() = default;

GdsProbe GdsDriver::open(GdsSettings const& settings) {
    if (settings.needs_gpu) {
        if (auto const gpus = visible_gpus(); gpus.count == 0) { return {GdsState::gpu_missing, 0, gpus.obstacle}; }
    }
    try {
        SharedLibrary const library(settings.library);
    } catch (Error const& error) { return {GdsState::library_missing, 0, error.what()}; }
    try {
        cufile_ = std::make_unique<CufileLibrary>(settings.library);
    } catch (Error const& error) { return {GdsState::symbol_missing, 0, error.what()}; }
    if (exists(settings.module_folder) && !exists(settings.device_node)) {
        return {GdsState::device_missing, 0,
                fmt::format("the kernel module nvidia-fs is loaded, but there is no {}", settings.device_node)};
    }
    stage_settings(*cufile_);
    {
        StandardInput const guard;
        auto const result = cufile_->driver_open();
        if (result.err != CU_FILE_SUCCESS) { return failed(GdsState::driver_failed, result, "open cuFile's driver"); }
    }
    if (is_compatible(*cufile_)) {
        return {GdsState::compatible, 0,
                "cuFile's compatible mode is on (CUFILE_ALLOW_COMPAT_MODE, CUFILE_FORCE_COMPAT_MODE), in which nobody "
                "can tell whether a read was GPUDirect Storage"};
    }
    counts_paths_ = start_counting(*cufile_);
    return {};
}

GdsPaths GdsDriver::paths() const {
    GdsPaths paths;
    if (!counts_paths_) { return paths; }
    for (auto const& gpu : per_gpu_stats(*cufile_)) {
        paths.is_known = true;
        paths.p2p_reads += gpu.n_p2p_reads;
        paths.nvfs_reads += gpu.n_nvfs_reads;
        paths.posix_reads += gpu.n_posix_reads;
        paths.unaligned_reads += gpu.n_unaligned_reads;
    }
    return paths;
}

void GdsDriver::close() noexcept {
    if (probe_.works()) { cufile_->driver_close(); }
    probe_ = {GdsState::driver_failed, 0, "cuFile's driver was closed"};
}

GdsDriver& gds_driver() {
    static auto* const driver = new GdsDriver();
    return *driver;
}

GdsBuffer::GdsBuffer(GdsDriver const& driver, Memory memory)
    : memory_(std::move(memory)), registration_(nullptr, Deregister{&driver.cufile()}) {
    auto const bytes = memory_.bytes();
    auto const result = driver.cufile().buf_register(bytes.data(), bytes.size(), 0);
    if (result.err != CU_FILE_SUCCESS) {
        throw Error(Errc::unavailable, fmt::format("register {} of GPU memory: {}", format_bytes(bytes.size()),
                                                   cufile_sentence(result.err, result.cu_err)));
    }
    registration_.reset(bytes.data());
}

void GdsBuffer::Deregister::operator()(void* base) const noexcept {
    cufile->buf_deregister(base);
}

GdsFile::GdsFile(GdsDriver const& driver, FileRecord const& file)
    : access_(file, true), registration_(nullptr, Deregister{&driver.cufile()}) {
    if (!access_.allows_direct()) {
        probe_ = {GdsState::file_refused, 0, "the file cannot be opened with O_DIRECT"};
    } else {
        CUfileDescr_t description = {};
        description.type = CU_FILE_HANDLE_TYPE_OPAQUE_FD;
        description.handle.fd = access_.direct_fd();
        CUfileHandle_t handle = nullptr;
        auto const result = driver.cufile().handle_register(&handle, &description);
        if (result.err == CU_FILE_SUCCESS) {
            registration_.reset(handle);
        } else {
            probe_ = failed(GdsState::file_refused, result, "register the file");
        }
    }
    is_given_up_ = !probe_.works();
}

void GdsFile::Deregister::operator()(void* handle) const noexcept {
    cufile->handle_deregister(handle);
}

CufileOutcome GdsFile::read(std::uint64_t offset, std::span<std::byte> target, GdsBuffer const& into) const noexcept {
    auto* const base = into.bytes().data();
    errno = 0;
    auto const value = registration_.get_deleter().cufile->read(registration_.get(), base, target.size(),
                                                                static_cast<off_t>(offset), target.data() - base);
    return {value, errno};
}

}  // namespace shardwise
