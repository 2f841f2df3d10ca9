/// @file
/// Large anonymous memory on huge pages, and how much memory there is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace shardwise {

/// Anonymous memory that starts on a 2 MiB boundary and asks for huge pages: first touch of 4 KiB pages costs more than
/// the read that fills them. Pages appear when they are first touched, on the toucher's NUMA node.
class HostMemory {
   public:
    HostMemory() = default;

    /// @throws Error memory with the size when the system refuses.
    explicit HostMemory(std::uint64_t size_bytes);
    HostMemory(HostMemory&& other) noexcept;
    HostMemory& operator=(HostMemory&& other) noexcept;
    ~HostMemory();

    std::span<std::byte> bytes() const noexcept { return bytes_; }

   private:
    std::span<std::byte> bytes_;    ///< aligned, as asked for
    std::span<std::byte> mapping_;  ///< what was mapped
};

inline constexpr std::uint64_t kHugePageBytes = 2ULL << 20U;

/// Brings in the pages that @p bytes, on one huge page, lie on, as their first touch would; what they hold stays. False
/// if the system cannot, as Linux before 5.14, or does not want to.
///
/// The last page is touched first. Linux clears a huge page towards the place of the fault, to leave that in the cache:
/// a fault at its beginning, which is where reading and copying begin, has it cleared backwards, at half the speed
/// (AMD Zen 4; Linux before 2026's "mm: folio_zero_user: clear pages sequentially").
bool bring_in(std::span<std::byte> bytes) noexcept;

/// Bytes this machine can still give to processes, cgroup limits included.
std::uint64_t available_memory_bytes();

/// Greatest resident size of this process so far, in bytes.
std::uint64_t peak_resident_bytes();

}  // namespace shardwise
