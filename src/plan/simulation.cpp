#include "plan/simulation.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "plan/cached_cost.hpp"
#include "plan/fan_out.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

/// As many waves tell what the others do, too.
constexpr std::uint64_t kMostPlayedWaves = 1000;

/// Which part of the files lies in the page cache, and so of stripes, whoever reads them.
double cached_share(Plan const& plan) {
    double cached = 0;
    double all = 0;
    for (std::size_t file = 0; file < plan.files.size(); ++file) {
        auto const bytes = static_cast<double>(plan.files[file].size_bytes);
        all += bytes;
        cached += plan.facts[file].is_cached() ? bytes : 0;
    }
    return all == 0 ? 0 : cached / all;
}

}  // namespace

void Simulation::add(Plan const& plan) {
    mesh_ = plan.mesh;
    request_bytes_ = plan.request_bytes;
    exchanges_at_once_ = plan.exchanges_at_once;
    shared_read_bytes_ = plan.strategy_bytes.cooperative + plan.strategy_bytes.shared;
    waves_ = plan.waves.size();
    cached_share_ = cached_share(plan);
    RankWork work = {plan.rank, 0, 0, 0, 0};
    work.add_direct(plan);
    auto const step = ceil_div(std::max<std::uint64_t>(waves_, 1), kMostPlayedWaves);
    for (std::uint32_t wave = 0; wave < plan.waves.size(); ++wave) {
        for (auto const& receive : plan.waves[wave].receives) {
            work.wave_bytes += receive.bytes;
            if (wave % step != 0) { continue; }
            pieces_.push_back({wave, receive.peer, static_cast<std::uint32_t>(plan.rank), plan.waves[wave].is_shared,
                               receive.wire_bytes});
        }
    }
    work_.push_back(work);
}

void Simulation::RankWork::add_direct(Plan const& plan) {
    for (auto const& read : plan.direct) {
        if (!plan.facts[read.range.file].is_cached()) {
            direct_bytes += read.range.size_bytes;
            ++direct_requests;
            continue;
        }
        auto const runs = scattered(plan.blocks_of(read));
        auto const cost = read.is_scattered ? runs.cost() : room_cost(runs.used_bytes, read.range.size_bytes);
        cached_bytes += static_cast<double>(cost);
    }
}

SimulatedLoad Simulation::result() const {
    SimulatedLoad load;
    load.ranks = mesh_.world();
    load.nodes = ceil_div(load.ranks, ranks_per_node_);
    load.waves = waves_;
    add_storage_and_copies(load);
    add_messages(load);
    load.wave_seconds /= static_cast<double>(exchanges_at_once_);
    load.seconds = std::max({load.storage_seconds, load.copy_seconds, load.network_seconds, load.wave_seconds});
    return load;
}

void Simulation::add_storage_and_copies(SimulatedLoad& load) const {
    struct Node {
        double bytes = 0;
        double requests = 0;
        double copy_seconds = 0;
        double wave_copy_seconds = 0;
    };
    std::vector<Node> nodes(static_cast<std::size_t>(load.nodes));
    auto const stripes = static_cast<double>(shared_read_bytes_) / static_cast<double>(load.ranks);
    // An exchange copies twice, out to the neighbours and in. Who is alone copies in only.
    auto const exchanges = load.ranks == 1 ? 0.5 : 1.0;
    for (auto const& work : work_) {
        auto const stored_stripes = stripes * (1 - cached_share_);
        auto const direct_copies =
            (work.cached_bytes + static_cast<double>(work.direct_bytes)) / profile_.cached_bytes_per_second;
        auto const wave_copies = (stripes - stored_stripes) / profile_.cached_bytes_per_second +
                                 exchanges * static_cast<double>(work.wave_bytes) / profile_.exchange_bytes_per_second;
        for (std::int64_t replica = 0; replica < mesh_.dp; ++replica) {
            auto& node = nodes[static_cast<std::size_t>(node_of(work.rank + replica * mesh_.copy_ranks()))];
            node.bytes += static_cast<double>(work.direct_bytes) + stored_stripes;
            node.requests +=
                static_cast<double>(work.direct_requests) + stored_stripes / static_cast<double>(request_bytes_);
            node.copy_seconds += direct_copies + wave_copies;
            node.wave_copy_seconds += wave_copies;
        }
    }
    double all = 0;
    for (auto const& node : nodes) {
        all += node.bytes;
        load.node_storage_bytes = std::max(load.node_storage_bytes, static_cast<std::uint64_t>(node.bytes));
        load.storage_seconds = std::max(load.storage_seconds, node.bytes / profile_.read_bytes_per_second +
                                                                  node.requests * profile_.request_seconds);
        load.copy_seconds = std::max(load.copy_seconds, node.copy_seconds);
        load.wave_seconds = std::max(load.wave_seconds, node.wave_copy_seconds);
    }
    load.storage_bytes = static_cast<std::uint64_t>(all);
    if (profile_.shared_bytes_per_second > 0) {
        load.storage_seconds = std::max(load.storage_seconds, all / profile_.shared_bytes_per_second);
    }
}

/// What nodes send and receive: in one round of messages, and in all.
struct Simulation::NodeTraffic {
    explicit NodeTraffic(std::int64_t nodes)
        : sent(static_cast<std::size_t>(nodes)),
          received(sent.size()),
          passed_on(sent.size()),
          all_sent(sent.size()),
          all_received(sent.size()),
          all_passed_on(sent.size()) {}

    void add(std::int64_t from, std::int64_t to, std::uint64_t bytes) {
        if (from == to) {
            passed_on[static_cast<std::size_t>(from)] += bytes;
            return;
        }
        sent[static_cast<std::size_t>(from)] += bytes;
        received[static_cast<std::size_t>(to)] += bytes;
    }

    /// Seconds of the node that takes longest; the next round begins.
    double end_round(MachineProfile const& profile) {
        double most = 0;
        for (std::size_t node = 0; node < sent.size(); ++node) {
            auto const crossing = static_cast<double>(std::max(sent[node], received[node]));
            most = std::max(most, crossing / profile.network_bytes_per_second +
                                      copy_seconds(static_cast<double>(passed_on[node]), profile));
            all_sent[node] += std::exchange(sent[node], 0);
            all_received[node] += std::exchange(received[node], 0);
            all_passed_on[node] += std::exchange(passed_on[node], 0);
        }
        return most;
    }

    /// A message within a node is one copy; the exchange rate is of two, out and in.
    static double copy_seconds(double passed_on_bytes, MachineProfile const& profile) {
        return passed_on_bytes / profile.exchange_bytes_per_second / 2;
    }

    std::vector<std::uint64_t> sent, received;
    std::vector<std::uint64_t> passed_on;  ///< within the node
    std::vector<std::uint64_t> all_sent, all_received, all_passed_on;
};

void Simulation::add_messages(SimulatedLoad& load) const {
    struct Message {
        std::int64_t from, to;
        std::uint64_t bytes;
    };
    std::map<std::uint32_t, std::vector<Piece>> by_wave;
    for (auto const& piece : pieces_) { by_wave[piece.wave].push_back(piece); }
    std::vector<std::uint32_t> nodes;
    for (std::int64_t rank = 0; rank < load.ranks; ++rank) {
        nodes.push_back(static_cast<std::uint32_t>(node_of(rank)));
    }
    FanOuts fans(mesh_, std::move(nodes));
    NodeTraffic traffic(load.nodes);
    double seconds = 0;
    for (auto& [wave, pieces] : by_wave) {
        std::map<std::uint32_t, std::vector<Message>> rounds;
        std::map<std::uint32_t, bool> is_broadcast;  // by root: once, whoever told of it
        for (auto const& piece : pieces) {
            if (piece.is_shared && std::exchange(is_broadcast[piece.root], true)) { continue; }
            auto const fan = piece.is_shared ? fans.to_all(piece.root) : fans.to_replicas(piece.root, piece.leader);
            auto const count = piece.is_shared ? mesh_.world() : mesh_.dp;
            auto const stride = piece.is_shared ? 1 : mesh_.copy_ranks();
            for (std::int64_t i = 0; i < count; ++i) {
                auto const rank = (piece.is_shared ? 0 : mesh_.leader(piece.leader)) + i * stride;
                auto const way = fan.way_to(static_cast<int>(rank));
                if (!way || node_of(piece.root) == node_of(rank)) { continue; }
                rounds[way->round].push_back({node_of(way->from), node_of(rank), piece.bytes});
            }
        }
        for (auto const& [round, messages] : rounds) {
            for (auto const& message : messages) { traffic.add(message.from, message.to, message.bytes); }
            seconds += traffic.end_round(profile_);
        }
        seconds += profile_.step_seconds * static_cast<double>(1 + rounds.size());
    }
    load.played_waves = by_wave.size();
    if (by_wave.empty()) { return; }
    auto const scale = static_cast<double>(load.waves) / static_cast<double>(load.played_waves);
    auto const most = [&](std::vector<std::uint64_t> const& bytes) {
        return static_cast<double>(*std::ranges::max_element(bytes)) * scale;
    };
    load.wave_seconds += seconds * scale;
    load.network_seconds =
        std::max(most(traffic.all_sent), most(traffic.all_received)) / profile_.network_bytes_per_second;
    load.copy_seconds += NodeTraffic::copy_seconds(most(traffic.all_passed_on), profile_);
    load.node_sent_bytes = static_cast<std::uint64_t>(most(traffic.all_sent));
    load.node_received_bytes = static_cast<std::uint64_t>(most(traffic.all_received));
}

}  // namespace shardwise
