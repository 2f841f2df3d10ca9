/// @file
/// Digests of tensors that lie in the memory of a GPU, worked out there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "convert/digest_grid.hpp"
#include "device/accelerator.hpp"
#include "exec/piece_digest.hpp"

namespace shardwise {

/// Collects parts of many tensors for one launch.
class DeviceDigests {
   public:
    /// As digest_part(); the digest counts for sum number @p sum.
    /// @param local all that the rank holds of the tensor, in the GPU's memory.
    void add(HeldPart const& part, DType dtype, std::span<std::byte const> local, std::uint32_t sum);

    /// The sums from 0 to @p count.
    /// @throws Error memory; Error io when the GPU fails.
    std::vector<std::uint64_t> work_out(Accelerator& accelerator, std::size_t count) const;

   private:
    DigestGrid grid_;
};

}  // namespace shardwise
