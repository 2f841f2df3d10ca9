#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <deque>
#include <fstream>
#include <utility>
#include <vector>

#include <cuda_runtime.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <shardwise/error.hpp>

#include "device/accelerator.hpp"
#include "device/host_memory.hpp"
#include "util/checked.hpp"
#include "util/units.hpp"

namespace shardwise {
namespace {

/// Throws what @p code means, if it is not success.
void check_cuda(cudaError_t code, std::string const& what) {
    if (code == cudaSuccess) { return; }
    auto const kind = code == cudaErrorMemoryAllocation ? Errc::memory : Errc::io;
    throw Error(kind, fmt::format("{}: {}", what, cudaGetErrorString(code)));
}

/// GPU-8a5e... as nvidia-smi prints it.
std::string uuid_text(cudaUUID_t const& uuid) {
    std::string text = "GPU";
    for (std::size_t i = 0; i < sizeof(uuid.bytes); ++i) {
        bool const starts_group = i == 0 || i == 4 || i == 6 || i == 8 || i == 10;
        text += fmt::format("{}{:02x}", starts_group ? "-" : "", static_cast<unsigned char>(uuid.bytes[i]));
    }
    return text;
}

/// The NUMA node that a GPU hangs on; negative if the system does not say.
int numa_node_of(int device) {
    std::array<char, 32> bus = {};
    if (cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), device) != cudaSuccess) { return -1; }
    std::string name(bus.data());
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    std::ifstream file(fmt::format("/sys/bus/pci/devices/{}/numa_node", name));
    int node = -1;
    return file >> node ? node : -1;
}

/// Asks for pages of @p bytes on a NUMA node; a wish, like huge pages.
void prefer_node(std::span<std::byte> bytes, int node) {
    constexpr int kPreferred = 1;  // MPOL_PREFERRED of numaif.h, which is a package of its own
    constexpr int kMaskBits = 64;
    if (node < 0 || node >= kMaskBits) { return; }
    std::uint64_t const mask = std::uint64_t{1} << static_cast<unsigned>(node);
    ::syscall(SYS_mbind, bytes.data(), bytes.size(), kPreferred, &mask, kMaskBits + 1, 0U);
}

class CudaStream final : public Stream {
   public:
    explicit CudaStream(std::string gpu) : gpu_(std::move(gpu)) {
        check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), fmt::format("{}: make a stream", gpu_));
    }
    CudaStream(CudaStream const&) = delete;
    CudaStream& operator=(CudaStream const&) = delete;
    ~CudaStream() override {
        for (auto const& [mark, event] : under_way_) { cudaEventDestroy(event); }
        for (auto* const event : spare_) { cudaEventDestroy(event); }
        cudaStreamDestroy(stream_);
    }

    void copy(std::span<std::byte const> from, std::byte* to) override {
        if (from.empty()) { return; }
        check_cuda(cudaMemcpyAsync(to, from.data(), from.size(), cudaMemcpyDefault, stream_),
                   fmt::format("{}: copy {}", gpu_, format_bytes(from.size())));
    }

    std::uint64_t mark() override {
        auto* const event = take_event();
        check_cuda(cudaEventRecord(event, stream_), fmt::format("{}: record an event", gpu_));
        under_way_.emplace_back(++last_mark_, event);
        return last_mark_;
    }

    bool has_passed(std::uint64_t mark) override {
        while (passed_ < mark && !under_way_.empty()) {
            auto const [first, event] = under_way_.front();
            auto const state = cudaEventQuery(event);
            if (state == cudaErrorNotReady) { return false; }
            check_cuda(state, gpu_);
            under_way_.pop_front();
            spare_.push_back(event);
            passed_ = first;
        }
        return passed_ >= mark;
    }

    void* native() const noexcept override { return stream_; }

    void run(std::function<void()>) override {
        throw Error(Errc::usage, "work for the host was given to a stream of a GPU");
    }

   private:
    cudaEvent_t take_event() {
        if (!spare_.empty()) {
            auto* const event = spare_.back();
            spare_.pop_back();
            return event;
        }
        cudaEvent_t event = nullptr;
        check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), fmt::format("{}: make an event", gpu_));
        return event;
    }

    std::string gpu_;
    cudaStream_t stream_ = nullptr;
    std::deque<std::pair<std::uint64_t, cudaEvent_t>> under_way_;  ///< marks not known to have passed
    std::vector<cudaEvent_t> spare_;
    std::uint64_t last_mark_ = 0;
    std::uint64_t passed_ = 0;
};

/// Pages that the GPU may copy from and to; given back before they are unmapped.
class PinnedPages {
   public:
    PinnedPages(std::uint64_t size_bytes, int numa_node, std::string const& gpu) : memory_(size_bytes) {
        prefer_node(memory_.bytes(), numa_node);
        check_cuda(cudaHostRegister(memory_.bytes().data(), size_bytes, cudaHostRegisterPortable),
                   fmt::format("{}: pin {} of host memory", gpu, format_bytes(size_bytes)));
    }
    PinnedPages(PinnedPages const&) = delete;
    PinnedPages& operator=(PinnedPages const&) = delete;
    ~PinnedPages() { cudaHostUnregister(memory_.bytes().data()); }

    std::span<std::byte> bytes() const noexcept { return memory_.bytes(); }

   private:
    HostMemory memory_;
};

class CudaAccelerator final : public Accelerator {
   public:
    explicit CudaAccelerator(int index) : index_(index), name_(fmt::format("GPU {}", index)) {
        attach_thread();
        cudaDeviceProp properties = {};
        check_cuda(cudaGetDeviceProperties(&properties, index), name_);
        uuid_ = uuid_text(properties.uuid);
        name_ = fmt::format("{} ({})", name_, properties.name);
        numa_node_ = numa_node_of(index);
    }

    std::string describe() const override { return name_; }
    std::string uuid() const override { return uuid_; }

    std::uint64_t free_bytes() const override {
        std::size_t free = 0;
        std::size_t total = 0;
        check_cuda(cudaMemGetInfo(&free, &total), fmt::format("{}: ask for free memory", name_));
        return free;
    }

    Memory allocate(std::uint64_t size_bytes, std::uint64_t alignment) override {
        if (size_bytes == 0) { return {}; }
        auto const padded = size_bytes + (alignment > kDeviceAlignment ? alignment : 0);
        void* address = nullptr;
        check_cuda(cudaMalloc(&address, padded), fmt::format("{}: allocate {}", name_, format_bytes(size_bytes)));
        account_->add(padded);
        std::shared_ptr<void> owner(address, [account = account_, padded](void* memory) {
            cudaFree(memory);
            account->remove(padded);
        });
        auto const begin = align_up(reinterpret_cast<std::uintptr_t>(address), alignment);
        return {{reinterpret_cast<std::byte*>(begin), size_bytes}, std::move(owner)};
    }

    MemoryHandle share(Memory const& memory) override {
        static_assert(sizeof(cudaIpcMemHandle_t) == sizeof(MemoryHandle));
        cudaIpcMemHandle_t handle = {};
        auto const code = cudaIpcGetMemHandle(&handle, memory.bytes().data());
        if (code != cudaSuccess) {
            throw Error(Errc::unavailable, fmt::format("{}: memory cannot be shared between processes: {}", name_,
                                                       cudaGetErrorString(code)));
        }
        return std::bit_cast<MemoryHandle>(handle);
    }

    Memory open(MemoryHandle const& handle, std::uint64_t size_bytes) override {
        void* address = nullptr;
        auto const code =
            cudaIpcOpenMemHandle(&address, std::bit_cast<cudaIpcMemHandle_t>(handle), cudaIpcMemLazyEnablePeerAccess);
        if (code != cudaSuccess) {
            throw Error(Errc::unavailable, fmt::format("{}: memory of another process cannot be opened: {}", name_,
                                                       cudaGetErrorString(code)));
        }
        return {{static_cast<std::byte*>(address), size_bytes},
                std::shared_ptr<void>(address, [](void* memory) { cudaIpcCloseMemHandle(memory); })};
    }

    Memory allocate_pinned(std::uint64_t size_bytes) override {
        if (size_bytes == 0) { return {}; }
        auto const pages = std::make_shared<PinnedPages>(size_bytes, numa_node_, name_);
        return {pages->bytes(), pages};
    }

    std::unique_ptr<Stream> make_stream() override { return std::make_unique<CudaStream>(name_); }

    void attach_thread() override {
        auto const code = cudaSetDevice(index_);
        if (code == cudaSuccess) { return; }
        throw Error(Errc::unavailable, fmt::format("{}: {}", name_, cudaGetErrorString(code)));
    }

    std::uint64_t peak_bytes() const noexcept override { return account_->peak(); }

   private:
    int index_;
    std::string name_;
    std::string uuid_;
    int numa_node_ = -1;
    std::shared_ptr<MemoryAccount> account_ = std::make_shared<MemoryAccount>();
};

}  // namespace

VisibleGpus visible_gpus() {
    int version = 0;
    if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) {
        return {0, "no GPU can be used: there is no NVIDIA driver here (libcuda.so.1)"};
    }
    int count = 0;
    auto const code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess) { return {0, fmt::format("no GPU can be used: {}", cudaGetErrorString(code))}; }
    if (count == 0) { return {0, "no GPU is visible to this process"}; }
    return {count, {}};
}

std::optional<int> find_gpu(std::string const& uuid) {
    auto const count = visible_gpus().count;
    for (int index = 0; index < count; ++index) {
        cudaDeviceProp properties = {};
        check_cuda(cudaGetDeviceProperties(&properties, index), fmt::format("GPU {}", index));
        if (uuid_text(properties.uuid) == uuid) { return index; }
    }
    return std::nullopt;
}

std::unique_ptr<Accelerator> open_gpu(int index) {
    return std::make_unique<CudaAccelerator>(index);
}

}  // namespace shardwise
