/// @file
/// How one rank's bytes reach many: those that have them pass them on, once to each node and then within it.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include <shardwise/mesh.hpp>

namespace shardwise {

/// Number 0 of so many has something that all others get in rounds. To few it gives it itself, all in one round. Among
/// many, everyone who has it passes it on to one more in each round.
class Spread {
   public:
    explicit Spread(std::int64_t count) noexcept : count_(count) {}

    std::uint32_t rounds() const noexcept {
        if (count_ <= 1) { return 0; }
        return is_star() ? 1 : static_cast<std::uint32_t>(std::bit_width(static_cast<std::uint64_t>(count_ - 1)));
    }

    struct Hop {
        std::uint32_t round = 0;
        std::int64_t from = 0;
    };

    /// How it reaches @p number, which is not 0.
    Hop way_to(std::int64_t number) const noexcept {
        if (is_star()) { return {0, 0}; }
        auto const round = std::bit_width(static_cast<std::uint64_t>(number)) - 1;
        return {static_cast<std::uint32_t>(round), number - (std::int64_t{1} << round)};
    }

    /// Calls @p visit(round, to) for everyone whom @p number passes it on to.
    template <class Visit>
    void for_each_next(std::int64_t number, Visit visit) const {
        if (is_star()) {
            for (std::int64_t next = 1; number == 0 && next < count_; ++next) { visit(0U, next); }
            return;
        }
        std::uint32_t round = 0;
        for (std::int64_t having = 1; having < count_; having *= 2, ++round) {
            if (number < having && number + having < count_) { visit(round, number + having); }
        }
    }

   private:
    /// Saves the rounds where number 0 can well give to all.
    bool is_star() const noexcept { return count_ <= 4; }

    std::int64_t count_;
};

/// Ranks that get the same bytes, by their node.
class FanMembers {
   public:
    /// Ranks first, first + stride, ..., so many.
    /// @param node_of node of every rank of the job; must outlive this.
    FanMembers(std::vector<std::uint32_t> const& node_of, std::int64_t first, std::int64_t stride, std::int64_t count);

    std::int64_t nodes() const noexcept { return static_cast<std::int64_t>(by_node_.size()); }
    std::vector<int> const& on(std::int64_t node) const noexcept { return by_node_[static_cast<std::size_t>(node)]; }

    /// Which of nodes() the rank is on; -1 if none of these ranks is.
    std::int64_t node_with(int rank) const noexcept;

   private:
    std::vector<std::uint32_t> const& node_of_;
    std::vector<std::vector<int>> by_node_;  ///< ascending
    std::vector<std::int32_t> index_;        ///< into by_node_, by number of the node; -1
};

/// A rank and others that get its bytes. They cross the network once for each node, where they are then passed on. What
/// leaves a node is spread over all nodes, whoever read. All ranks know all of this from the plan; nothing is said
/// about it.
class FanOut {
   public:
    /// @param members must outlive this.
    FanOut(FanMembers const& members, int root) noexcept;

    struct Hop {
        std::uint32_t round = 0;
        int from = 0;
    };

    /// How the bytes reach @p rank, one of the members; nothing for the root.
    std::optional<Hop> way_to(int rank) const noexcept;

    /// Calls @p visit(round, to) for every message by which @p rank, the root or a member, passes the bytes on.
    template <class Visit>
    void for_each_next(int rank, Visit visit) const {
        auto const [node, local] = spot_of(rank);
        if (local == 0) {
            over_nodes_.for_each_next(node, [&](std::uint32_t round, std::int64_t to) {
                visit(round, rank_at({to, 0}));
            });
        }
        Spread(ranks_at(node)).for_each_next(local, [&, at = node](std::uint32_t round, std::int64_t to) {
            visit(over_nodes_.rounds() + round, rank_at({at, to}));
        });
    }

   private:
    /// Place of a node counted from the root's, and of a rank on it; number 0 gets the bytes for its node.
    struct Spot {
        std::int64_t node = 0;
        std::int64_t local = 0;
    };

    Spot spot_of(int rank) const noexcept;
    int rank_at(Spot spot) const noexcept;
    std::int64_t ranks_at(std::int64_t node) const noexcept;
    std::int64_t members_node(std::int64_t node) const noexcept;
    std::int64_t first_on(std::int64_t node) const noexcept;

    FanMembers const& members_;
    int root_;
    std::int64_t own_node_;   ///< of the members' nodes the root's; -1: none of them is there
    std::int64_t own_place_;  ///< the root's among the members there; -1: it is none
    Spread over_nodes_;
};

/// The fans of a job.
class FanOuts {
   public:
    /// @param node_of node of every rank.
    FanOuts(Mesh const& mesh, std::vector<std::uint32_t> node_of);
    FanOuts(FanOuts const&) = delete;
    FanOuts& operator=(FanOuts const&) = delete;

    /// The bytes that @p root read for the ranks that hold the same as @p receiver in all replicas.
    FanOut to_replicas(std::int64_t root, std::int64_t receiver);

    /// The bytes that @p root read for all ranks.
    FanOut to_all(std::int64_t root);

   private:
    Mesh mesh_;
    std::vector<std::uint32_t> node_of_;
    std::map<std::int64_t, FanMembers> of_leader_;
    std::optional<FanMembers> all_;
};

}  // namespace shardwise
