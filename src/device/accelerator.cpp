#include "device/accelerator.hpp"

#include <chrono>
#include <thread>

namespace shardwise {

void finish(Stream& stream) {
    auto const mark = stream.mark();
    while (!stream.has_passed(mark)) { std::this_thread::sleep_for(std::chrono::microseconds(20)); }
}

void MemoryAccount::add(std::uint64_t bytes) noexcept {
    auto const used = used_ += bytes;
    auto peak = peak_.load();
    while (peak < used && !peak_.compare_exchange_weak(peak, used)) {}
}

}  // namespace shardwise
