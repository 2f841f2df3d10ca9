#include "device/host_memory.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <sys/mman.h>

#include <shardwise/error.hpp>

#include "device/memory.hpp"
#include "util/checked.hpp"
#include "util/units.hpp"

namespace shardwise {
namespace {

/// The number after the word @p key in a text file; 0 if it is not there.
std::uint64_t number_after(std::string const& path, std::string const& key) {
    std::ifstream file(path);
    std::string word;
    while (file >> word) {
        std::uint64_t number = 0;
        if (word == key && file >> number) { return number; }
    }
    return 0;
}

/// A field that the kernel gives in kB, meaning KiB.
std::uint64_t kib_field(std::string const& path, std::string const& key) {
    return number_after(path, key) << 10U;
}

/// A cgroup limit; the greatest number when there is none ("max" or no such file).
std::uint64_t cgroup_value(std::string const& name) {
    std::ifstream file("/sys/fs/cgroup/" + name);
    std::uint64_t value = 0;
    return file >> value ? value : std::numeric_limits<std::uint64_t>::max();
}

}  // namespace

HostMemory::HostMemory(std::uint64_t size_bytes) {
    if (size_bytes == 0) { return; }
    auto const mapped_bytes = align_up(size_bytes, kHugePageBytes) + kHugePageBytes;
    void* const address =
        ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) {
        throw Error(Errc::memory, fmt::format("cannot map {} of memory", format_bytes(size_bytes)));
    }
    mapping_ = {static_cast<std::byte*>(address), mapped_bytes};
    auto const begin = align_up(reinterpret_cast<std::uintptr_t>(address), kHugePageBytes);
    bytes_ = {reinterpret_cast<std::byte*>(begin), size_bytes};
    // A wish: without it pages are small.
    ::madvise(bytes_.data(), align_up(size_bytes, kHugePageBytes), MADV_HUGEPAGE);
}

HostMemory::HostMemory(HostMemory&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})), mapping_(std::exchange(other.mapping_, {})) {}

HostMemory& HostMemory::operator=(HostMemory&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(mapping_, other.mapping_);
    return *this;
}

HostMemory::~HostMemory() {
    if (!mapping_.empty()) { ::munmap(mapping_.data(), mapping_.size()); }
}

Memory make_host_memory(std::uint64_t size_bytes) {
    auto const memory = std::make_shared<HostMemory>(size_bytes);
    return {memory->bytes(), memory};
}

Memory make_host_tensor_memory(std::uint64_t size_bytes, std::uint64_t alignment) {
    if (size_bytes == 0 || size_bytes >= kHugePageBytes) { return make_host_memory(size_bytes); }
    auto* const begin = static_cast<std::byte*>(std::aligned_alloc(alignment, align_up(size_bytes, alignment)));
    if (begin == nullptr) {
        throw Error(Errc::memory, fmt::format("cannot take {} of memory", format_bytes(size_bytes)));
    }
    return {{begin, size_bytes}, std::shared_ptr<void>(begin, [](void* memory) { std::free(memory); })};
}

bool bring_in(std::span<std::byte> bytes) noexcept {
    constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE; the C library may be older
    constexpr std::uintptr_t kPageBytes = 4096;
    if (bytes.empty()) { return true; }
    auto const first = align_down(reinterpret_cast<std::uintptr_t>(bytes.data()), kPageBytes);
    auto const last = align_down(reinterpret_cast<std::uintptr_t>(&bytes.back()), kPageBytes);
    auto const populate = [](std::uintptr_t begin, std::uintptr_t size) {
        return ::madvise(reinterpret_cast<void*>(begin), size, kPopulateWrite) == 0;
    };
    return populate(last, kPageBytes) && (last == first || populate(first, last - first));
}

std::uint64_t available_memory_bytes() {
    auto const system = kib_field("/proc/meminfo", "MemAvailable:");
    auto const limit = cgroup_value("memory.max");
    auto const used = cgroup_value("memory.current");
    if (limit == std::numeric_limits<std::uint64_t>::max() || used > limit) { return system; }
    // The page cache counts as used in a cgroup, but is given up under pressure.
    auto const cache = number_after("/sys/fs/cgroup/memory.stat", "inactive_file");
    return std::min(system, limit - used + std::min(cache, used));
}

std::uint64_t peak_resident_bytes() {
    return kib_field("/proc/self/status", "VmHWM:");
}

}  // namespace shardwise
