#include "comm/staged_transport.hpp"

#include <vector>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "util/units.hpp"

namespace shardwise {
namespace {

class StagedTransport final : public Transport {
   public:
    StagedTransport(std::unique_ptr<Transport> inner, Accelerator& accelerator, Stream& stream,
                    std::uint64_t message_bytes)
        : inner_(std::move(inner)), down_(stream), up_(accelerator.make_stream()),
          memory_(accelerator.allocate_pinned(message_bytes)), free_(memory_.bytes()) {}

    ~StagedTransport() override { wait_for_copies(); }

    std::string name() const override { return inner_->name(); }
    bool share_memory(int, int) const noexcept override { return false; }
    std::span<std::byte> outbox(std::uint32_t, std::uint32_t) noexcept override { return {}; }
    void synchronize() override {}

    void send(Peer to, std::span<std::byte const> bytes) override {
        if (!bytes.empty()) { outgoing_.push_back({to, bytes, {}, 0}); }
    }

    void receive(Peer from, std::span<std::byte> into, std::uint64_t id) override {
        auto const room = take(into.size());
        inner_->receive(from, room, incoming_.size());
        incoming_.push_back({id, into, room});
    }

    /// Brings what is to be sent to the host; what goes to several ranks, once.
    void start() override {
        for (std::size_t i = 0; i < outgoing_.size(); ++i) {
            auto& message = outgoing_[i];
            if (!message.room.empty()) { continue; }
            bool const is_repeated = i > 0 && outgoing_[i - 1].source.data() == message.source.data() &&
                                     outgoing_[i - 1].source.size() == message.source.size();
            message.room = is_repeated ? outgoing_[i - 1].room : take(message.source.size());
            if (!is_repeated) { down_.copy(message.source, message.room.data()); }
            message.mark = down_.mark();
        }
        inner_->start();
    }

    void poll(std::vector<std::uint64_t>& received) override {
        std::erase_if(outgoing_, [&](Outgoing const& message) {
            if (message.room.empty() || !down_.has_passed(message.mark)) { return false; }
            inner_->send(message.to, message.room);
            return true;
        });
        inner_->start();
        arrived_.clear();
        inner_->poll(arrived_);
        for (auto const index : arrived_) {
            auto const& message = incoming_[index];
            up_->copy(message.room, message.into.data());
            uploads_.push_back({message.id, up_->mark()});
        }
        std::erase_if(uploads_, [&](Upload const& upload) {
            if (!up_->has_passed(upload.mark)) { return false; }
            received.push_back(upload.id);
            ++finished_;
            return true;
        });
        if (is_idle()) { start_over(); }
    }

    bool is_idle() const noexcept override {
        return outgoing_.empty() && finished_ == incoming_.size() && inner_->is_idle();
    }

    std::uint64_t staging_bytes() const noexcept override { return memory_.bytes().size(); }

   private:
    struct Outgoing {
        Peer to;
        std::span<std::byte const> source;
        std::span<std::byte> room;  ///< empty: not under way yet
        std::uint64_t mark;         ///< of down_
    };
    struct Incoming {
        std::uint64_t id;
        std::span<std::byte> into;
        std::span<std::byte> room;
    };
    struct Upload {
        std::uint64_t id;
        std::uint64_t mark;  ///< of up_
    };

    std::span<std::byte> take(std::uint64_t bytes) {
        if (bytes > free_.size()) {
            throw Error(Errc::memory, fmt::format("messages of a wave need more than the {} planned for them",
                                                  format_bytes(memory_.bytes().size())));
        }
        auto const room = free_.first(bytes);
        free_ = free_.subspan(bytes);
        return room;
    }

    void start_over() {
        incoming_.clear();
        finished_ = 0;
        free_ = memory_.bytes();
    }

    /// A GPU may still copy from and to the pinned memory.
    void wait_for_copies() noexcept {
        try {
            finish(down_);
            finish(*up_);
        } catch (Error const&) {}  // it has failed: nothing is copied any more
    }

    std::unique_ptr<Transport> inner_;
    Stream& down_;                ///< to the host
    std::unique_ptr<Stream> up_;  ///< to the GPU
    Memory memory_;
    std::span<std::byte> free_;  ///< of the memory
    std::vector<Outgoing> outgoing_;
    std::vector<Incoming> incoming_;
    std::vector<Upload> uploads_;
    std::vector<std::uint64_t> arrived_;
    std::size_t finished_ = 0;  ///< of incoming_
};

}  // namespace

std::unique_ptr<Transport> make_staged_transport(std::unique_ptr<Transport> inner, Accelerator& accelerator,
                                                 Stream& stream, std::uint64_t message_bytes) {
    return std::make_unique<StagedTransport>(std::move(inner), accelerator, stream, message_bytes);
}

}  // namespace shardwise
