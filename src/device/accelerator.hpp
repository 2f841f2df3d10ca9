/// @file
/// The seam between the executor and a GPU: memory, and streams of work that go on beside what the host does. Kernels
/// stand in convert/.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "device/memory.hpp"

namespace shardwise {

/// Work in order: nothing begins before what was given earlier has ended. Used by one thread.
class Stream {
   public:
    virtual ~Stream() = default;

    /// Copies between pinned memory of the host and memory of the accelerator, or inside either; both stay in use until
    /// a mark() made after it has passed.
    virtual void copy(std::span<std::byte const> from, std::byte* to) = 0;

    /// All that was given so far, as a number that grows.
    virtual std::uint64_t mark() = 0;

    /// True once everything before @p mark has ended. Does not wait.
    /// @throws Error io when the accelerator has failed.
    virtual bool has_passed(std::uint64_t mark) = 0;

    /// The cudaStream_t, for kernels and NCCL; null if the host stands in for the accelerator.
    virtual void* native() const noexcept = 0;

    /// Lets the host do the work of a kernel, in order with the rest; only if native() is null.
    virtual void run(std::function<void()> work) = 0;
};

/// Waits until everything before @p mark has ended.
/// @throws Error io when the accelerator has failed.
void wait_for(Stream& stream, std::uint64_t mark);

/// Waits until everything given to @p stream has ended.
/// @throws Error io when the accelerator has failed.
inline void finish(Stream& stream) { wait_for(stream, stream.mark()); }

/// Bytes in use; grows and shrinks with the memory that is counted here, on any thread.
class MemoryAccount {
   public:
    void add(std::uint64_t bytes) noexcept;
    void remove(std::uint64_t bytes) noexcept { used_ -= bytes; }
    std::uint64_t used() const noexcept { return used_; }
    std::uint64_t peak() const noexcept { return peak_; }

   private:
    std::atomic<std::uint64_t> used_ = 0;
    std::atomic<std::uint64_t> peak_ = 0;
};

/// What GPUDirect Storage reads without cutting requests up begins at a multiple of this.
inline constexpr std::uint64_t kDevicePage = 64ULL << 10U;

/// Every allocation begins at a multiple of this, without room being spent on it.
inline constexpr std::uint64_t kDeviceAlignment = 256;

/// What other processes share is whole pages of this size, into which smaller allocations are put together.
inline constexpr std::uint64_t kSharedPage = 2ULL << 20U;

/// What another process opens an allocation with (a cudaIpcMemHandle_t).
using MemoryHandle = std::array<std::byte, 64>;

/// One GPU. It must outlive its streams; memory outlives it. Any thread.
class Accelerator {
   public:
    virtual ~Accelerator() = default;

    /// For people. Example: "GPU 0 (NVIDIA H100 80GB HBM3)".
    virtual std::string describe() const = 0;

    /// Tells it from all others; the same for two processes that share it.
    virtual std::string uuid() const = 0;

    /// Bytes that can still be allocated.
    virtual std::uint64_t free_bytes() const = 0;

    /// Memory of its own.
    /// @throws Error memory with the size.
    virtual Memory allocate(std::uint64_t size_bytes, std::uint64_t alignment = kDevicePage) = 0;

    /// Lets other processes on this machine open @p memory, which allocate() made with kDeviceAlignment and whole
    /// kSharedPages, for as long as this process keeps it.
    /// @throws Error unavailable where that is not possible.
    virtual MemoryHandle share(Memory const& memory) = 0;

    /// Memory that another process shares; the same GPU must be this one.
    /// @throws Error unavailable when that process is gone, or the system refuses.
    virtual Memory open(MemoryHandle const& handle, std::uint64_t size_bytes) = 0;

    /// Memory of the host that it can reach at full speed, on its NUMA node where that is known.
    /// @throws Error memory with the size.
    virtual Memory allocate_pinned(std::uint64_t size_bytes) = 0;

    virtual std::unique_ptr<Stream> make_stream() = 0;

    /// Makes it the one that the calling thread works with, which every thread that calls a GPU library must do.
    virtual void attach_thread() = 0;

    /// Greatest sum of its own memory in use through allocate().
    virtual std::uint64_t peak_bytes() const noexcept = 0;
};

/// How many GPUs this process may use, or why none.
struct VisibleGpus {
    int count = 0;
    std::string obstacle;  ///< empty if there are any
};

/// Asks for the driver and its GPUs; cheap where there is no driver.
VisibleGpus visible_gpus();

/// Which of the visible GPUs has that UUID; nothing if none does.
std::optional<int> find_gpu(std::string const& uuid);

/// GPU @p index of those visible.
/// @throws Error unavailable when it does not answer, or this build has no GPU back ends (naming the CMake option).
std::unique_ptr<Accelerator> open_gpu(int index);

}  // namespace shardwise
