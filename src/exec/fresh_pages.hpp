/// @file
/// Memory of a load's tensors, brought in while there is nothing else to do: what storage then fills, or a copy, need
/// not wait for the system to find and clear a page.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include "device/host_memory.hpp"
#include "device/memory.hpp"

namespace shardwise {

class FreshPages {
   public:
    FreshPages() = default;

    /// @param stretches memory of the host, in the order in which it is going to be filled; must outlive this.
    explicit FreshPages(std::span<Memory const> stretches) : stretches_(stretches) {}

    /// Brings in the next huge page; false if nothing is left, or the system cannot do it. Stretches below a huge page
    /// are passed over: they share their pages with others.
    bool bring_in_next() noexcept {
        while (!stretches_.empty() && is_over(stretches_.front().bytes().size())) {
            stretches_ = stretches_.subspan(1);
            at_ = 0;
        }
        if (stretches_.empty()) { return false; }
        auto const bytes = stretches_.front().bytes();
        auto const begin = std::exchange(at_, at_ + kHugePageBytes);
        auto const size = std::min<std::uint64_t>(kHugePageBytes, bytes.size() - begin);
        if (bring_in(bytes.subspan(begin, size))) { return true; }
        stretches_ = {};
        return false;
    }

   private:
    bool is_over(std::uint64_t size_bytes) const noexcept { return at_ >= size_bytes || size_bytes < kHugePageBytes; }

    std::span<Memory const> stretches_;
    std::uint64_t at_ = 0;  ///< of the first one: what comes before is there
};

}  // namespace shardwise
