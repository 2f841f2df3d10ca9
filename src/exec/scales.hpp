/// @file
/// Scales of quantized tensors, read before the codes that they belong to.
#pragma once

#include <cstdint>
#include <vector>

#include <shardwise/plan.hpp>

#include "convert/block_scale.hpp"
#include "device/host_memory.hpp"

namespace shardwise {

/// What Plan::scalings asks for, in memory. They are small beside the codes, one number a block, so every rank reads
/// its own.
class LoadedScales {
   public:
    LoadedScales() = default;

    /// Reads all of them.
    /// @throws Error io or input with the file.
    explicit LoadedScales(Plan const& plan);

    /// By index into Plan::scalings.
    std::span<BlockScaling const> scalings() const noexcept { return scalings_; }

    std::uint64_t read_bytes() const noexcept { return read_bytes_; }
    std::uint64_t requests() const noexcept { return scalings_.size(); }

   private:
    HostMemory memory_;
    std::vector<BlockScaling> scalings_;
    std::uint64_t read_bytes_ = 0;
};

/// Memory that they take.
std::uint64_t scale_bytes(Plan const& plan) noexcept;

}  // namespace shardwise
