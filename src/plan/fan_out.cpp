#include "plan/fan_out.hpp"

#include <algorithm>
#include <utility>

namespace shardwise {

FanMembers::FanMembers(std::vector<std::uint32_t> const& node_of, std::int64_t first, std::int64_t stride,
                       std::int64_t count)
    : node_of_(node_of) {
    for (std::int64_t i = 0; i < count; ++i) {
        auto const rank = first + i * stride;
        auto const node = std::size_t{node_of[static_cast<std::size_t>(rank)]};
        if (node >= index_.size()) { index_.resize(node + 1, -1); }
        if (index_[node] < 0) {
            index_[node] = static_cast<std::int32_t>(by_node_.size());
            by_node_.emplace_back();
        }
        by_node_[static_cast<std::size_t>(index_[node])].push_back(static_cast<int>(rank));
    }
}

std::int64_t FanMembers::node_with(int rank) const noexcept {
    auto const node = std::size_t{node_of_[static_cast<std::size_t>(rank)]};
    return node < index_.size() ? index_[node] : -1;
}

namespace {

/// Place of @p rank in an ascending list; -1 if it is not there.
std::int64_t place_in(std::vector<int> const& ranks, int rank) noexcept {
    auto const at = std::ranges::lower_bound(ranks, rank);
    return at == ranks.end() || *at != rank ? -1 : at - ranks.begin();
}

}  // namespace

FanOut::FanOut(FanMembers const& members, int root) noexcept
    : members_(members),
      root_(root),
      own_node_(members.node_with(root)),
      own_place_(own_node_ < 0 ? -1 : place_in(members.on(own_node_), root)),
      over_nodes_(members.nodes() + (own_node_ < 0 ? 1 : 0)) {}

std::optional<FanOut::Hop> FanOut::way_to(int rank) const noexcept {
    auto const [node, local] = spot_of(rank);
    if (local > 0) {
        auto const hop = Spread(ranks_at(node)).way_to(local);
        return Hop{over_nodes_.rounds() + hop.round, rank_at({node, hop.from})};
    }
    if (node == 0) { return std::nullopt; }
    auto const hop = over_nodes_.way_to(node);
    return Hop{hop.round, rank_at({hop.from, 0})};
}

/// Nodes come in turn after the root's, so that the first ones that get the bytes are others for other roots.
std::int64_t FanOut::members_node(std::int64_t node) const noexcept {
    if (own_node_ >= 0) { return (own_node_ + node) % members_.nodes(); }
    return (root_ + node - 1) % members_.nodes();
}

/// The member that gets the bytes for its node is another one for other roots, too.
std::int64_t FanOut::first_on(std::int64_t node) const noexcept {
    if (node == 0 && own_node_ >= 0) { return std::max<std::int64_t>(own_place_, 0); }
    return root_ % static_cast<std::int64_t>(members_.on(members_node(node)).size());
}

std::int64_t FanOut::ranks_at(std::int64_t node) const noexcept {
    if (node == 0 && own_node_ < 0) { return 1; }
    bool const is_root_besides = node == 0 && own_place_ < 0;
    return static_cast<std::int64_t>(members_.on(members_node(node)).size()) + (is_root_besides ? 1 : 0);
}

FanOut::Spot FanOut::spot_of(int rank) const noexcept {
    if (rank == root_) { return {0, 0}; }
    auto const index = members_.node_with(rank);
    auto const nodes = members_.nodes();
    auto const before = own_node_ >= 0 ? own_node_ : root_ % nodes;
    auto const node = (index - before + nodes) % nodes + (own_node_ >= 0 ? 0 : 1);
    auto const& ranks = members_.on(index);
    auto const count = static_cast<std::int64_t>(ranks.size());
    auto const place = (place_in(ranks, rank) - first_on(node) + count) % count;
    return {node, place + (node == 0 && own_place_ < 0 ? 1 : 0)};
}

int FanOut::rank_at(Spot spot) const noexcept {
    if (spot.node == 0 && spot.local == 0) { return root_; }
    auto const& ranks = members_.on(members_node(spot.node));
    auto const place = spot.local - (spot.node == 0 && own_place_ < 0 ? 1 : 0) + first_on(spot.node);
    return ranks[static_cast<std::size_t>(place) % ranks.size()];
}

FanOuts::FanOuts(Mesh const& mesh, std::vector<std::uint32_t> node_of) : mesh_(mesh), node_of_(std::move(node_of)) {}

FanOut FanOuts::to_replicas(std::int64_t root, std::int64_t receiver) {
    auto const leader = mesh_.leader(receiver);
    auto found = of_leader_.find(leader);
    if (found == of_leader_.end()) {
        found = of_leader_.try_emplace(leader, node_of_, leader, mesh_.copy_ranks(), mesh_.dp).first;
    }
    return {found->second, static_cast<int>(root)};
}

FanOut FanOuts::to_all(std::int64_t root) {
    if (!all_) { all_.emplace(node_of_, 0, 1, mesh_.world()); }
    return {*all_, static_cast<int>(root)};
}

}  // namespace shardwise
