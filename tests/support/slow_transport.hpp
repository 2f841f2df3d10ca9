/// @file
/// A transport that works as a slow network does.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/transport.hpp"

namespace shardwise::test {

/// Hands everything on to another transport, and keeps each message that has come back until @p latency after it was
/// asked for.
class SlowTransport final : public Transport {
   public:
    /// @param channels at most; no more than the other one has.
    SlowTransport(std::unique_ptr<Transport> inner, std::chrono::milliseconds latency, std::uint32_t channels)
        : inner_(std::move(inner)), latency_(latency), channels_(channels) {}

    std::string name() const override { return inner_->name(); }
    bool share_memory(int a, int b) const noexcept override { return inner_->share_memory(a, b); }
    std::span<std::byte> outbox(std::uint32_t index, std::uint32_t seat) noexcept override {
        return inner_->outbox(index, seat);
    }
    void synchronize() override { inner_->synchronize(); }
    std::uint32_t channels() const noexcept override { return channels_; }
    void send(Peer to, std::span<std::byte const> bytes) override { inner_->send(to, bytes); }

    void receive(Peer from, std::span<std::byte> into, std::uint64_t id) override {
        inner_->receive(from, into, messages_.size());
        messages_.push_back({id, from.channel, Clock::now() + latency_});
    }

    void start() override { inner_->start(); }

    void poll(std::vector<std::uint64_t>& received) override {
        inner_->poll(arrived_);
        std::erase_if(arrived_, [&](std::uint64_t index) {
            auto& message = messages_[index];
            if (Clock::now() < message.due) { return false; }
            received.push_back(message.id);
            message.is_under_way = false;
            return true;
        });
    }

    bool is_idle() const noexcept override { return inner_->is_idle() && arrived_.empty(); }

    bool is_idle_on(std::uint32_t channel) const noexcept override {
        for (auto const& message : messages_) {
            if (message.channel == channel && message.is_under_way) { return false; }
        }
        return inner_->is_idle_on(channel);
    }

    void abort() noexcept override { inner_->abort(); }
    std::uint64_t staging_bytes() const noexcept override { return inner_->staging_bytes(); }

   private:
    using Clock = std::chrono::steady_clock;

    struct Message {
        std::uint64_t id;
        std::uint32_t channel;
        Clock::time_point due;
        bool is_under_way = true;
    };

    std::unique_ptr<Transport> inner_;
    std::chrono::milliseconds latency_;
    std::uint32_t channels_;
    std::deque<Message> messages_;        ///< all that were ever asked for
    std::vector<std::uint64_t> arrived_;  ///< indices of those kept back
};

}  // namespace shardwise::test
