/// @file
/// Memory that direct I/O can land in, with canaries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include <shardwise/plan.hpp>

namespace shardwise::test {

/// Page-aligned room for the pages of a range, followed by one page that must stay as it is.
class PageBuffer {
   public:
    explicit PageBuffer(FileRange const& range)
        : size_(pages_end(range) - range.begin / kSlotAlignment * kSlotAlignment),
          memory_(new (std::align_val_t{kSlotAlignment}) std::byte[size_ + kSlotAlignment]) {
        for (auto& byte : all()) { byte = kCanary; }
    }

    std::span<std::byte> room() const { return all().first(size_); }

    /// True if nothing was written past the room.
    bool is_intact() const {
        for (auto const byte : all().subspan(size_)) {
            if (byte != kCanary) { return false; }
        }
        return true;
    }

   private:
    static constexpr std::byte kCanary{0xA5};

    struct Free {
        void operator()(std::byte* memory) const { operator delete[](memory, std::align_val_t{kSlotAlignment}); }
    };

    static std::uint64_t pages_end(FileRange const& range) {
        return (range.end() + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
    }
    std::span<std::byte> all() const { return {memory_.get(), size_ + kSlotAlignment}; }

    std::uint64_t size_;
    std::unique_ptr<std::byte[], Free> memory_;
};

}  // namespace shardwise::test
