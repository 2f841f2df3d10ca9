#include "exec/wave_messages.hpp"

#include <algorithm>
#include <tuple>

namespace shardwise {
namespace {

class MessageList {
   public:
    MessageList(Plan const& plan, Transport const& transport)
        : rank_(static_cast<int>(plan.rank)), transport_(transport) {}

    /// What this rank does for a piece that @p root read and that goes to all of @p fan.
    void add(FanOut const& fan, int root, std::uint32_t piece) {
        auto const way = fan.way_to(rank_);
        if (way && !transport_.share_memory(root, rank_)) { put(way->round, root, way->from, true, piece); }
        fan.for_each_next(rank_, [&](std::uint32_t round, int to) {
            if (!transport_.share_memory(root, to)) { put(round, root, to, false, piece); }
        });
    }

    std::vector<WaveMessage> take() {
        std::ranges::stable_sort(list_, {}, [](WaveMessage const& m) { return std::tuple(m.round, m.root); });
        return std::move(list_);
    }

   private:
    void put(std::uint32_t round, int root, int peer, bool is_incoming, std::uint32_t piece) {
        list_.push_back({round, static_cast<std::uint32_t>(root), peer, is_incoming, piece});
    }

    int rank_;
    Transport const& transport_;
    std::vector<WaveMessage> list_;
};

}  // namespace

std::vector<WaveMessage> messages_of(Plan const& plan, Wave const& wave, FanOuts& fans, Transport const& transport) {
    MessageList list(plan, transport);
    auto const own = static_cast<int>(plan.rank);
    std::uint32_t piece = 0;
    for (auto const& receive : wave.receives) {
        auto const root = static_cast<int>(receive.peer);
        auto const fan = wave.is_shared ? fans.to_all(root) : fans.to_replicas(root, plan.rank);
        // What this rank read itself is among the sends, or is the stripe.
        if (root != own) { list.add(fan, root, piece); }
        ++piece;
    }
    for (auto const& send : wave.sends) { list.add(fans.to_replicas(plan.rank, send.peer), own, piece++); }
    if (wave.stripe_bytes > 0) { list.add(fans.to_all(plan.rank), own, piece); }
    return list.take();
}

bool has_far_ranks(Plan const& plan, Transport const& transport) noexcept {
    auto const own = static_cast<int>(plan.rank);
    for (int rank = 0; rank < plan.mesh.world(); ++rank) {
        if (rank != own && !transport.share_memory(rank, own)) { return true; }
    }
    return false;
}

std::uint32_t exchanges_at_once(Plan const& plan, Transport const& transport) noexcept {
    return std::max(1U, std::min(plan.exchanges_at_once, transport.channels()));
}

std::uint64_t message_bytes(Plan const& plan) noexcept {
    std::uint64_t most = 0;
    for (auto const& wave : plan.waves) {
        std::uint64_t in_wave = wave.stripe_bytes;
        for (auto const& receive : wave.receives) { in_wave += receive.wire_bytes; }
        for (auto const& send : wave.sends) { in_wave += send.wire_bytes; }
        most = std::max(most, in_wave);
    }
    return most;
}

}  // namespace shardwise
