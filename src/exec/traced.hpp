/// @file
/// Noting work in a trace, where there is one.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <shardwise/trace.hpp>

namespace shardwise {

/// Adds an event that lasts as long as this object. Without a log it costs a comparison.
class Traced {
   public:
    /// @param make gives row, name, bytes and detail; called only if there is a log.
    template <class Make>
    Traced(TraceLog* log, Make&& make) : log_(log) {
        if (log_ == nullptr) { return; }
        event_ = make();
        event_.begin = log_->now();
    }
    Traced(Traced const&) = delete;
    Traced& operator=(Traced const&) = delete;
    ~Traced() {
        if (log_ == nullptr) { return; }
        event_.end = log_->now();
        log_->add(std::move(event_));
    }

   private:
    TraceLog* log_;
    TraceEvent event_;
};

}  // namespace shardwise
