#include <utility>

#include <shardwise/trace.hpp>

namespace shardwise {

void TraceLog::add(TraceEvent event) {
    std::lock_guard const lock(mutex_);
    if (events_.size() == kMostEvents) {
        ++left_out_;
        return;
    }
    events_.push_back(std::move(event));
}

std::vector<TraceEvent> TraceLog::events() const {
    std::lock_guard const lock(mutex_);
    return events_;
}

std::uint64_t TraceLog::left_out() const noexcept {
    std::lock_guard const lock(mutex_);
    return left_out_;
}

}  // namespace shardwise
