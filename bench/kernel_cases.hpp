/// @file
/// What kernels of a GPU are measured on: each case knows how to run once, and how to tell that the result is right.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "device/accelerator.hpp"

namespace shardwise::bench {

struct KernelCase {
    std::string name;
    std::uint64_t moved_bytes = 0;    ///< read and written by one run
    std::function<void()> run;        ///< gives one run to the stream
    std::function<bool()> is_right;   ///< after a run, waits and compares with the host
    std::vector<Memory> memory = {};  ///< that the run uses
};

/// Makes the cases one by one, so that only one of them takes memory.
struct NamedCase {
    std::string name;
    std::function<KernelCase()> make;
};

/// @param megabytes of source that each case works on, about.
std::vector<NamedCase> kernel_cases(Accelerator& accelerator, Stream& stream, std::uint64_t megabytes);

/// An emulated GPU where the tests are built; null elsewhere.
std::unique_ptr<Accelerator> emulated_gpu();

}  // namespace shardwise::bench
