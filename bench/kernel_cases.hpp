/// @file
/// What is measured on a GPU: each case knows how to run once, and how to tell that the result is right.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device/accelerator.hpp"

namespace shardwise::bench {

struct KernelCase {
    std::string name;
    std::uint64_t moved_bytes = 0;        ///< read and written by one run
    std::function<void()> run = {};       ///< gives one run to the stream
    std::function<bool()> is_right = {};  ///< after a run, waits and compares with the host
    std::vector<Memory> results = {};     ///< that a run writes all of
};

/// Makes a case when it is its turn, so that only one of them takes memory.
struct NamedCase {
    std::string name;
    std::function<KernelCase()> make;
};

/// @param megabytes of source that each case works on, about.
std::vector<NamedCase> kernel_cases(Accelerator& accelerator, Stream& stream, std::uint64_t megabytes);

/// What kernels and files are measured by.
enum class CopyFrom : std::uint8_t { device, pinned };
KernelCase copy_case(Accelerator& accelerator, Stream& stream, std::uint64_t bytes, CopyFrom from);

/// A file on tmpfs read into the GPU by the pread pool and the ring of pinned buffers, as loads do it.
/// @param bytes a multiple of 4 MiB.
KernelCase pipeline_case(Accelerator& accelerator, Stream& stream, std::uint64_t bytes);

/// An emulated GPU where the tests are built; null elsewhere.
std::unique_ptr<Accelerator> emulated_gpu();

}  // namespace shardwise::bench
