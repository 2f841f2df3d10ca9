#include "device/accelerator.hpp"

#include <chrono>
#include <thread>

namespace shardwise {

void wait_for(Stream& stream, std::uint64_t mark) {
    while (!stream.has_passed(mark)) { std::this_thread::sleep_for(std::chrono::microseconds(20)); }
}

void MemoryAccount::add(std::uint64_t bytes) noexcept {
    auto const used = used_ += bytes;
    auto peak = peak_.load();
    while (peak < used && !peak_.compare_exchange_weak(peak, used)) {}
}

}  // namespace shardwise
