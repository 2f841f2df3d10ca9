#include "kernel_cases.hpp"

namespace shardwise::bench {

std::unique_ptr<Accelerator> emulated_gpu() { return nullptr; }

}  // namespace shardwise::bench
