/// @file
/// Memory of a load's tensors, brought in before something is put there: what storage fills, or a copy, need not wait
/// for the system to find and clear a page, and the system clears pages faster this way (bring_in).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

#include "convert/place.hpp"

namespace shardwise {

/// The huge pages under the tensors of a rank. Tensors that do not make up a huge page with their neighbours are passed
/// over: they share it with what else is in use.
class FreshPages {
   public:
    /// @param tensors memory of the host, in the order in which it is going to be filled; what they show must outlive
    /// this.
    explicit FreshPages(TensorSpans tensors);

    /// Brings in what the blocks are going to be put into, as far as nobody has before. Any number of threads.
    void bring_in(std::span<CopyBlock const> blocks) noexcept;

    /// Brings in the next page that nobody has; false if there is none, or the system cannot do it. One thread.
    bool bring_in_next() noexcept;

   private:
    void add_stretch(std::size_t first, std::size_t last);
    bool bring_in_page(std::size_t page) noexcept;

    static constexpr std::uint32_t kNone = ~std::uint32_t{0};

    TensorSpans tensors_;
    std::vector<std::uint32_t> first_page_;    ///< of each tensor, into pages_
    std::vector<std::span<std::byte>> pages_;  ///< what lies on each: a huge page, or less at the ends of a stretch
    std::vector<std::atomic<bool>> is_taken_;  ///< by page: somebody has brought it in, or is about to
    std::atomic<bool> is_able_ = true;         ///< the system, as far as is known
    std::size_t next_ = 0;
};

}  // namespace shardwise
