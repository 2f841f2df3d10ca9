/// @file
/// From loops of any depth and size to the descriptors that kernels read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <boost/container/small_vector.hpp>

#include "convert/block_scale.hpp"
#include "convert/grid_block.hpp"

namespace shardwise {

/// A loop over runs; strides in bytes, and in elements of the stored tensor.
struct GridStep {
    std::uint64_t count = 1;
    std::uint64_t source_stride = 0;
    std::uint64_t target_stride = 0;
    std::uint64_t element_stride = 0;
};

/// A copy block whose two sides have addresses and strides of their own. Runs are counted in atoms, the fewest bytes
/// that can be handled by themselves: one that is moved as it is, else those of whole elements.
struct GridJob {
    std::byte const* source = nullptr;
    std::byte* target = nullptr;
    std::uint64_t element = 0;      ///< number of the first one; counts only with scales and in digests
    std::uint64_t run = 0;          ///< atoms
    std::uint64_t target_step = 1;  ///< bytes from element to element of a run in the target
    boost::container::small_vector<GridStep, 4> steps = {};  ///< outermost first
    DType from = DType::u8;
    DType to = DType::u8;                   ///< the same: moved as it is
    BlockScaling const* scaling = nullptr;  ///< its scales are in the accelerator's memory
};

/// Descriptors of many jobs for one launch. Addresses are never followed.
class GridList {
   public:
    /// Places the runs of @p job.
    /// @throws Error input with a scaling of more than 2^30 rows or columns, or scales that are no whole bytes.
    void add(GridJob job);

    /// Digests the runs of @p job, whose atoms are units of @p unit_bytes bytes, into sum number @p result.
    void add_digest(GridJob job, std::uint32_t unit_bytes, std::uint32_t result);

    void clear() noexcept;

    std::span<GridBlock const> blocks() const noexcept { return blocks_; }
    GridSize size() const noexcept { return {static_cast<std::uint32_t>(blocks_.size()), tiles_}; }

   private:
    void push(GridBlock block, std::uint64_t tiles);

    std::vector<GridBlock> blocks_;
    std::uint32_t tiles_ = 0;
};

}  // namespace shardwise
