#include "kernel_cases.hpp"
#include "support/emulated_accelerator.hpp"

namespace shardwise::bench {

std::unique_ptr<Accelerator> emulated_gpu() { return test::make_emulated_accelerator({.memory_bytes = 4ULL << 30U}); }

}  // namespace shardwise::bench
