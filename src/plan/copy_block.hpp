/// @file
/// From index maps to runs of bytes, and parts of them.
#pragma once

#include <cstdint>
#include <vector>

#include <shardwise/plan.hpp>

#include "mapping/view.hpp"

namespace shardwise {

/// A half-open range of bytes.
struct ByteRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint64_t size() const noexcept { return end - begin; }
    bool operator==(ByteRange const&) const = default;
};

/// The bytes of a region as a block: source counts from the source tensor's first byte, target from the first byte of a
/// row-major tensor of shape @p shape and type @p dtype. The innermost contiguous elements make one run; where the
/// region's source has another type, the elements are cast and need be contiguous in the source only.
/// @throws Error input if elements below a byte would be moved by parts of bytes.
///
/// Example: rows of 6 BF16 elements, columns [3, 6) of 4 rows -> run 6 B, one loop of 4, source stride 12, target 6.
CopyBlock lower(Region const& region, Shape const& shape, DType dtype);

/// lower() of many regions of one tensor. Where one is like the one before it, only at another place, as experts are,
/// its block follows from that one's.
class Lowering {
   public:
    Lowering(Shape const& shape, DType dtype) : shape_(shape), dtype_(dtype) {}

    /// @param region must stay until the next call.
    CopyBlock const& block(Region const& region);

   private:
    void move_to(Region const& region);

    Shape shape_;
    DType dtype_;
    Region const* last_ = nullptr;
    CopyBlock block_;
};

/// Appends the parts of @p block whose source bytes lie in @p range; at most two partial ones a loop. The range must
/// not cut an element that is cast.
void clip(CopyBlock const& block, ByteRange range, std::vector<CopyBlock>& parts);

/// Number in its stored tensor of the element at @p source, a byte of a run; of no meaning without a scaling.
std::uint64_t element_at(CopyBlock const& block, std::uint64_t source) noexcept;

/// Appends ranges that cover the source bytes of @p block, in order. Runs of one loop not more than @p max_gap apart
/// share a range; what nested loops leave apart is merged by DirectReads.
void source_ranges(CopyBlock const& block, std::uint64_t max_gap, std::vector<ByteRange>& ranges);

/// The way back: source and target changed over, loops ordered by the new source. For blocks that put no two bytes into
/// one place, as every block of a parameter does, and move bytes as they are.
CopyBlock swapped(CopyBlock block);

/// How many ranges source_ranges would give and the bytes in them, without making them.
struct RangeEstimate {
    std::uint64_t ranges = 0;
    std::uint64_t bytes = 0;
};
RangeEstimate estimate_ranges(CopyBlock const& block, std::uint64_t max_gap) noexcept;

}  // namespace shardwise
