/// @file
/// Stretches of memory as values, whatever they are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace shardwise {

/// Memory of the host or of an accelerator, and what frees it with the last copy of this. The host must not touch what
/// is an accelerator's.
class Memory {
   public:
    Memory() = default;
    Memory(std::span<std::byte> bytes, std::shared_ptr<void const> owner) : bytes_(bytes), owner_(std::move(owner)) {}

    std::span<std::byte> bytes() const noexcept { return bytes_; }
    std::shared_ptr<void const> const& owner() const noexcept { return owner_; }

   private:
    std::span<std::byte> bytes_;
    std::shared_ptr<void const> owner_;
};

/// Of the host, as HostMemory has it.
/// @throws Error memory with the size when the system refuses.
Memory make_host_memory(std::uint64_t size_bytes);

/// The same for one of many tensors: a small one does not take a huge page for itself.
Memory make_host_tensor_memory(std::uint64_t size_bytes, std::uint64_t alignment);

}  // namespace shardwise
