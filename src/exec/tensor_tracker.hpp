/// @file
/// Which tensors are complete, and since when: every byte of a tensor is placed exactly once, so counting is enough.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

namespace shardwise {

class TensorTracker {
   public:
    explicit TensorTracker(std::span<PlannedTensor const> tensors) : tensors_(tensors) {
        for (auto const& tensor : tensors) {
            missing_.push_back(tensor.size_bytes);
            total_bytes_ += tensor.size_bytes;
            if (tensor.priority >= classes_.size()) { classes_.resize(tensor.priority + 1); }
            if (tensor.size_bytes > 0) { ++classes_[tensor.priority].missing; }
        }
    }

    void count(std::span<CopyBlock const> blocks) {
        for (auto const& block : blocks) {
            auto const bytes = block.target_bytes();
            missing_[block.tensor] -= bytes;
            placed_bytes_ += bytes;
            if (missing_[block.tensor] == 0 && bytes > 0) { complete(tensors_[block.tensor]); }
        }
    }

    bool is_complete(std::size_t tensor) const noexcept { return missing_[tensor] == 0; }
    std::uint64_t placed_bytes() const noexcept { return placed_bytes_; }
    std::uint64_t total_bytes() const noexcept { return total_bytes_; }

    /// Seconds until the first tensor was complete; 0 if there is none with any bytes.
    double first_seconds() const noexcept { return first_seconds_; }

    /// Seconds until the last tensor of each priority class was complete; 0 for one without any bytes.
    std::vector<double> class_seconds() const {
        std::vector<double> seconds;
        for (auto const& one : classes_) { seconds.push_back(one.seconds); }
        return seconds;
    }

   private:
    using Clock = std::chrono::steady_clock;

    struct Class {
        std::size_t missing = 0;  ///< tensors
        double seconds = 0;
    };

    void complete(PlannedTensor const& tensor) {
        auto const seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
        if (first_seconds_ == 0) { first_seconds_ = seconds; }
        auto& own = classes_[tensor.priority];
        if (--own.missing == 0) { own.seconds = seconds; }
    }

    Clock::time_point begin_ = Clock::now();
    std::span<PlannedTensor const> tensors_;
    std::vector<std::uint64_t> missing_;
    std::uint64_t placed_bytes_ = 0;
    std::uint64_t total_bytes_ = 0;
    double first_seconds_ = 0;
    std::vector<Class> classes_;
};

}  // namespace shardwise
