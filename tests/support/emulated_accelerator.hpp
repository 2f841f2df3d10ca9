/// @file
/// A GPU that is none: memory of the host, and streams that are threads. What goes through the seam of an accelerator
/// can be run and looked at where there is no GPU.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "device/accelerator.hpp"

namespace shardwise::test {

struct EmulatedGpu {
    std::string uuid = "GPU-emulated";
    std::uint64_t memory_bytes = 1ULL << 30U;
    /// Pieces of work, counted over all streams, that still succeed; after them every stream has failed.
    std::shared_ptr<std::atomic<std::int64_t>> work_left = {};
};

/// New memory is full of 0xA5, so that nobody relies on zeros.
std::unique_ptr<Accelerator> make_emulated_accelerator(EmulatedGpu gpu = {});

}  // namespace shardwise::test
