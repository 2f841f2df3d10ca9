/// @file
/// A reader that works as slow storage does.
#pragma once

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "io/reader.hpp"

namespace shardwise::test {

/// Hands everything on to another reader, and keeps each completion back until @p latency after its submission and
/// @p service after the one before.
class SlowReader final : public Reader {
   public:
    SlowReader(std::unique_ptr<Reader> inner, std::chrono::milliseconds latency, std::chrono::milliseconds service)
        : inner_(std::move(inner)), latency_(latency), service_(service) {}

    bool has_room() const noexcept override { return inner_->has_room(); }

    void submit(ReadRequest const& request) override {
        inner_->submit(request);
        last_due_ = std::max(Clock::now() + latency_, last_due_ + service_);
        due_.push_back(last_due_);
    }

    void start() override { inner_->start(); }

    void poll(std::vector<ReadResult>& results, Wait wait) override {
        inner_->poll(ready_, Wait::no);
        if (wait == Wait::briefly) { std::this_thread::sleep_for(std::chrono::microseconds(200)); }
        while (!ready_.empty() && Clock::now() >= due_.front()) {
            results.push_back(std::move(ready_.front()));
            ready_.erase(ready_.begin());
            due_.pop_front();
        }
    }

    ReadCounters counters() const noexcept override { return inner_->counters(); }

   private:
    using Clock = std::chrono::steady_clock;

    std::unique_ptr<Reader> inner_;
    std::chrono::milliseconds latency_;
    std::chrono::milliseconds service_;
    Clock::time_point last_due_;
    std::deque<Clock::time_point> due_;  ///< of reads under way, in the order of submission
    std::vector<ReadResult> ready_;
};

}  // namespace shardwise::test
