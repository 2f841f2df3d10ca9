// Stands in for libcufile.so.0. FAKE_VERSION, 1000 * major + 10 * minor, says which functions it has and how it lays
// statistics out.
#include "support/fake_cufile.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include <cufile.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#undef cuFileDriverClose

namespace shardwise::test {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kGpuPage = 65536;

struct Buffer {
    std::size_t size;
    int readers = 0;
};

struct File {
    int fd;
    int readers = 0;
};

/// A read that the rules allow, and what is to become of it.
struct Allowed {
    int fd;
    std::optional<FakeRead> script;
};

thread_local int attached_in = 0;  // generation in which this thread was given a GPU

class Fake final : public FakeCufile {
   public:
    void reset() override {
        std::lock_guard const lock(mutex_);
        state_ = {};
        ++generation_;
    }
    void script(int nth, FakeRead read) override {
        std::lock_guard const lock(mutex_);
        state_.script.insert_or_assign(nth, read);
    }
    void script_all(FakeRead read) override {
        std::lock_guard const lock(mutex_);
        state_.every_read = read;
    }
    void answer_driver_open(int code) override { state_.driver_open = code; }
    void answer_handle_register(int code) override { state_.handle_register = code; }
    void answer_buf_register(int code) override { state_.buf_register = code; }
    void close_input() override { state_.closes_input = true; }
    void take_path(FakePath path) override { state_.path = path; }
    void attach_thread() override { attached_in = generation_; }
    bool has_registered(std::byte const* base) const override {
        std::lock_guard const lock(mutex_);
        return state_.buffers.contains(base);
    }
    FakeCounts counts() const override {
        std::lock_guard const lock(mutex_);
        auto counts = state_.counts;
        counts.open_files = static_cast<int>(state_.files.size());
        counts.open_buffers = static_cast<int>(state_.buffers.size());
        return counts;
    }
    FakeSettings opened_with() const override { return state_.opened_with; }
    std::vector<std::string> violations() const override {
        std::lock_guard const lock(mutex_);
        return state_.violations;
    }

    CUfileError_t open() {
        std::lock_guard const lock(mutex_);
        if (auto const code = refuse_caller()) { return error(*code); }
        ++state_.counts.opens;
        if (state_.closes_input) { ::close(0); }
        char const* const log = std::getenv("CUFILE_LOGFILE_PATH");
        state_.opened_with = state_.staged;
        state_.opened_with.log = log == nullptr ? "" : log;
        char const* const compatible = std::getenv("CUFILE_ALLOW_COMPAT_MODE");
        if (compatible != nullptr && !state_.is_compatible_staged) {
            state_.opened_with.allows_compatible = std::strcmp(compatible, "false") != 0;
        }
        state_.staged = {};  // for one open only, whether it succeeds or not
        if (state_.driver_open != 0) { return error(state_.driver_open); }
        state_.pid = ::getpid();
        return error(0);
    }

    CUfileError_t close() {
        std::lock_guard const lock(mutex_);
        if (state_.pid == 0) { return complain(5001, "close of a driver that is not open"); }
        if (!state_.files.empty() || !state_.buffers.empty()) { complain(0, "close with things registered"); }
        state_.pid = 0;
        ++state_.counts.closes;
        return error(0);
    }

    CUfileError_t register_file(CUfileHandle_t* handle, CUfileDescr_t const* description) {
        std::lock_guard const lock(mutex_);
        if (auto const code = refuse_caller_or_closed("HandleRegister")) { return error(*code); }
        if (state_.handle_register != 0) { return error(state_.handle_register); }
        int const fd = description->handle.fd;
        if (description->type != CU_FILE_HANDLE_TYPE_OPAQUE_FD || description->fs_ops != nullptr) {
            return complain(5022, "HandleRegister with a description that was not zeroed");
        }
        for (auto const& [other, file] : state_.files) {
            if (file.fd == fd) { return complain(5028, "HandleRegister of a descriptor that is registered"); }
        }
        int const flags = ::fcntl(fd, F_GETFL);
        if (!state_.opened_with.allows_compatible && (flags & O_DIRECT) == 0) {
            return complain(5020, "HandleRegister without O_DIRECT");
        }
        *handle = reinterpret_cast<void*>(++state_.last_handle);
        state_.files[*handle] = {fd};
        ++state_.counts.files;
        return error(0);
    }

    void deregister_file(CUfileHandle_t handle) {
        std::lock_guard const lock(mutex_);
        auto const found = state_.files.find(handle);
        if (found == state_.files.end()) { return static_cast<void>(complain(0, "HandleDeregister of no handle")); }
        if (found->second.readers > 0) { complain(0, "HandleDeregister with reads under way"); }
        if (::fcntl(found->second.fd, F_GETFD) < 0) { complain(0, "a file was closed before HandleDeregister"); }
        state_.files.erase(found);
    }

    CUfileError_t register_buffer(void const* base, std::size_t size) {
        std::lock_guard const lock(mutex_);
        if (auto const code = refuse_caller_or_closed("BufRegister")) { return error(*code); }
        if (state_.buf_register != 0) { return error(state_.buf_register); }
        if (size == 0) { return complain(5022, "BufRegister of nothing"); }
        if (reinterpret_cast<std::uintptr_t>(base) % kGpuPage != 0) {
            complain(0, "BufRegister of memory that does not begin on 64 KiB");
        }
        if (state_.buffers.contains(base)) { return complain(5023, "BufRegister of what is registered"); }
        state_.buffers[base] = {size};
        ++state_.counts.buffers;
        return error(0);
    }

    CUfileError_t deregister_buffer(void const* base) {
        std::lock_guard const lock(mutex_);
        auto const found = state_.buffers.find(base);
        if (found == state_.buffers.end()) { return complain(5022, "BufDeregister of what is not registered"); }
        if (found->second.readers > 0) { complain(0, "BufDeregister with reads under way"); }
        state_.buffers.erase(found);
        return error(0);
    }

    ssize_t read(CUfileHandle_t handle, void* base, std::size_t size, off_t offset, off_t place) {
        std::unique_lock lock(mutex_);
        ssize_t refusal = 0;
        auto const allowed = admit({handle, base, size, offset, place}, refusal);
        if (!allowed) { return refusal; }
        ++state_.files[handle].readers;
        ++state_.buffers[base].readers;
        lock.unlock();
        auto const got = perform(*allowed, static_cast<std::byte*>(base) + place, size, offset);
        int const number = errno;
        lock.lock();
        --state_.files[handle].readers;
        --state_.buffers[base].readers;
        if (got >= 0) { ++state_.paths[static_cast<std::size_t>(state_.path)]; }
        errno = number;
        return got;
    }

    CUfileError_t stage(bool is_compatible, bool allows_compatible, std::size_t longest_read_kib) {
        std::lock_guard const lock(mutex_);
        if (state_.pid != 0) { return complain(5026, "a parameter was set while the driver was open"); }
        if (is_compatible) {
            state_.staged.allows_compatible = allows_compatible;
            state_.is_compatible_staged = true;
        } else {
            state_.staged.longest_read_kib = longest_read_kib;
        }
        return error(0);
    }

    CUfileError_t start_counting(int level) {
        std::lock_guard const lock(mutex_);
        if (state_.pid == 0) { return complain(5001, "statistics were started before the driver was open"); }
        if (level > 0) { state_.level = level; }
        return error(0);
    }

    /// Reads by path; nothing if they are not counted.
    std::optional<std::vector<std::uint64_t>> paths() const {
        std::lock_guard const lock(mutex_);
        if (state_.pid == 0 || state_.level < 3) { return std::nullopt; }
        return std::vector<std::uint64_t>(std::begin(state_.paths), std::end(state_.paths));
    }

    static CUfileError_t error(int code) { return {static_cast<CUfileOpError>(code), CUDA_SUCCESS}; }

   private:
    struct State {
        int driver_open = 0;
        int handle_register = 0;
        int buf_register = 0;
        bool closes_input = false;
        FakePath path = FakePath::nvfs;
        std::map<int, FakeRead> script;
        std::optional<FakeRead> every_read;
        FakeSettings staged;
        bool is_compatible_staged = false;
        FakeSettings opened_with;
        pid_t pid = 0;  // of the process that opened the driver
        int level = 0;
        std::map<void const*, File> files;
        std::map<void const*, Buffer> buffers;
        std::uintptr_t last_handle = 0;
        FakeCounts counts;
        std::uint64_t paths[3] = {};
        std::vector<std::string> violations;
    };

    struct Request {
        CUfileHandle_t handle;
        void* base;
        std::size_t size;
        off_t offset;
        off_t place;
    };

    CUfileError_t complain(int code, std::string what) {
        state_.violations.push_back(std::move(what));
        return error(code);
    }

    std::optional<int> refuse_caller() {
        if (state_.pid != 0 && state_.pid != ::getpid()) { return complain(5030, "cuFile was used after a fork").err; }
        if (attached_in != generation_) { return complain(5011, "cuFile was called by a thread without a GPU").err; }
        return std::nullopt;
    }

    std::optional<int> refuse_caller_or_closed(char const* call) {
        if (auto const code = refuse_caller()) { return code; }
        if (state_.pid == 0) { return complain(5001, fmt::format("{} before the driver was open", call)).err; }
        return std::nullopt;
    }

    std::optional<Allowed> admit(Request const& request, ssize_t& refusal) {
        auto const refuse = [&](int code, char const* what) {
            complain(code,
                     fmt::format("read of {} B at {} to {}: {}", request.size, request.offset, request.place, what));
            refusal = -code;
            return std::nullopt;
        };
        int const nth = state_.counts.reads++;
        if (auto const code = refuse_caller_or_closed("read")) { return refuse(*code, "not now"); }
        auto const file = state_.files.find(request.handle);
        if (file == state_.files.end()) { return refuse(5027, "the file is not registered"); }
        auto const buffer = state_.buffers.find(request.base);
        if (buffer == state_.buffers.end()) { return refuse(5024, "the base is not registered"); }
        auto const end = static_cast<std::uint64_t>(request.place) + request.size;
        if (request.place < 0 || end > buffer->second.size) { return refuse(5017, "it leaves what is registered"); }
        bool const is_aligned = request.offset % static_cast<off_t>(kPage) == 0 && request.size % kPage == 0 &&
                                request.place % static_cast<off_t>(kPage) == 0;
        if (!is_aligned || request.size == 0) { return refuse(5022, "it is not aligned"); }
        auto const scripted = state_.script.find(nth);
        return Allowed{file->second.fd, scripted == state_.script.end() ? state_.every_read : scripted->second};
    }

    static ssize_t perform(Allowed const& allowed, std::byte* target, std::size_t size, off_t offset) {
        using Kind = FakeRead::Kind;
        auto const script = allowed.script.value_or(FakeRead{Kind::short_by, 0});
        if (script.kind == Kind::refused) { return -script.value; }
        if (script.kind == Kind::fails) {
            errno = script.value;
            return -1;
        }
        if (script.kind == Kind::slow) { std::this_thread::sleep_for(std::chrono::milliseconds(script.value)); }
        auto const got = ::pread(allowed.fd, target, size, offset);
        return script.kind == Kind::short_by ? std::max<ssize_t>(0, got - script.value) : got;
    }

    mutable std::mutex mutex_;
    State state_;
    std::atomic<int> generation_ = 1;
};

Fake& fake() {
    static Fake instance;
    return instance;
}

}  // namespace
}  // namespace shardwise::test

using shardwise::test::fake;
using shardwise::test::Fake;

extern "C" shardwise::test::FakeCufile* shardwise_fake_cufile() {
    return &fake();
}

extern "C" {

CUfileError_t cuFileDriverOpen() {
    return fake().open();
}
CUfileError_t cuFileDriverClose() {
    std::abort();  // the older one, which callers must not take where there are both
}
CUfileError_t cuFileDriverClose_v2() {
    return fake().close();
}
CUfileError_t cuFileDriverGetProperties(CUfileDrvProps_t* properties) {
    *properties = {};
    properties->nvfs.dcontrolflags = fake().opened_with().allows_compatible ? 1U << CU_FILE_ALLOW_COMPAT_MODE : 0;
    return Fake::error(0);
}
CUfileError_t cuFileHandleRegister(CUfileHandle_t* handle, CUfileDescr_t* description) {
    return fake().register_file(handle, description);
}
void cuFileHandleDeregister(CUfileHandle_t handle) {
    fake().deregister_file(handle);
}
CUfileError_t cuFileBufRegister(void const* base, std::size_t size, int) {
    return fake().register_buffer(base, size);
}
CUfileError_t cuFileBufDeregister(void const* base) {
    return fake().deregister_buffer(base);
}
ssize_t cuFileRead(CUfileHandle_t handle, void* base, std::size_t size, off_t offset, off_t place) {
    return fake().read(handle, base, size, offset, place);
}
CUfileError_t cuFileGetVersion(int* version) {
    *version = FAKE_VERSION;
    return Fake::error(0);
}

#if FAKE_VERSION >= 1140
CUfileError_t cuFileSetParameterSizeT(CUFileSizeTConfigParameter_t parameter, std::size_t value) {
    bool const is_known = parameter == CUFILE_PARAM_PROPERTIES_MAX_DIRECT_IO_SIZE_KB;
    return is_known ? fake().stage(false, false, value) : Fake::error(5022);
}
CUfileError_t cuFileSetParameterBool(CUFileBoolConfigParameter_t parameter, bool value) {
    bool const is_known = parameter == CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE;
    return is_known ? fake().stage(true, value, 0) : Fake::error(5022);
}
CUfileError_t cuFileGetParameterBool(CUFileBoolConfigParameter_t parameter, bool* value) {
    *value = parameter == CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE && fake().opened_with().allows_compatible;
    return Fake::error(0);
}
#endif

#if FAKE_VERSION >= 1150
CUfileError_t cuFileSetStatsLevel(int level) {
    return fake().start_counting(level);
}
CUfileError_t cuFileStatsStart() {
    return fake().start_counting(0);
}
CUfileError_t cuFileGetStatsL3(CUfileStatsLevel3_t* stats) {
    auto const paths = fake().paths();
    if (!paths) { return Fake::error(5001); }
    constexpr std::size_t kGpuCount = FAKE_VERSION >= 1190 ? 1136 : 1024;  // whatever the header says
    constexpr std::size_t kBytes = kGpuCount + 8 + 16 * sizeof(CUfilePerGpuStats_t);
    auto* const bytes = reinterpret_cast<std::byte*>(stats);
    std::memset(bytes, 0, kBytes);
    std::uint32_t const count = 2;
    std::memcpy(bytes + kGpuCount, &count, sizeof(count));
    CUfilePerGpuStats_t gpus[2] = {};
    gpus[0].n_p2p_reads = paths->at(0);
    gpus[1].n_nvfs_reads = paths->at(1);
    gpus[1].n_posix_reads = paths->at(2);
    std::memcpy(bytes + kGpuCount + 8, gpus, sizeof(gpus));
    return Fake::error(0);
}
#endif

#if FAKE_VERSION >= 1190
void fake_vector_read() asm("cuFileReadv");  // newer headers declare it, older ones do not have its types
void fake_vector_read() {
    std::abort();  // looked for, never called
}
#endif

}  // extern "C"
