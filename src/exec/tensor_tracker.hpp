/// @file
/// Which tensors are complete: every byte of a tensor is placed exactly once, so counting is enough.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

namespace shardwise {

class TensorTracker {
   public:
    explicit TensorTracker(std::span<PlannedTensor const> tensors) {
        for (auto const& tensor : tensors) {
            missing_.push_back(tensor.size_bytes);
            total_bytes_ += tensor.size_bytes;
        }
    }

    void count(std::span<CopyBlock const> blocks) {
        for (auto const& block : blocks) {
            auto const bytes = block.target_bytes();
            missing_[block.tensor] -= bytes;
            placed_bytes_ += bytes;
        }
    }

    bool is_complete(std::size_t tensor) const noexcept { return missing_[tensor] == 0; }
    std::uint64_t placed_bytes() const noexcept { return placed_bytes_; }
    std::uint64_t total_bytes() const noexcept { return total_bytes_; }

   private:
    std::vector<std::uint64_t> missing_;
    std::uint64_t placed_bytes_ = 0;
    std::uint64_t total_bytes_ = 0;
};

}  // namespace shardwise
