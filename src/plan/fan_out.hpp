/// @file
/// How one rank's bytes reach many: those that have them pass them on.
#pragma once

#include <cstdint>
#include <optional>

#include <shardwise/mesh.hpp>

namespace shardwise {

/// A rank and others, base, base + stride, ..., that get its bytes in rounds. To few the rank sends itself, all in one
/// round. Among many, everyone who has the bytes sends them on to one more in each round: what leaves a node is spread
/// over all nodes, whoever read. All ranks know all of this from the plan; nothing is said about it.
class FanOut {
   public:
    /// The bytes that @p root read for the ranks that hold the same as @p receiver in all replicas.
    static FanOut to_replicas(Mesh const& mesh, std::int64_t root, std::int64_t receiver) noexcept;

    /// The bytes that @p root read for all ranks.
    static FanOut to_all(Mesh const& mesh, std::int64_t root) noexcept;

    struct Hop {
        std::uint32_t round = 0;
        int from = 0;
    };

    /// How the bytes reach @p rank; nothing for the root.
    std::optional<Hop> way_to(int rank) const noexcept;

    /// Calls @p visit(round, to) for every message by which @p rank, the root or a receiver, passes the bytes on.
    template <class Visit>
    void for_each_next(int rank, Visit visit) const {
        auto const position = position_of(rank);
        if (is_star()) {
            for (std::int64_t next = 1; position == 0 && next < count_; ++next) { visit(0U, rank_at(next)); }
            return;
        }
        std::uint32_t round = 0;
        for (std::int64_t having = 1; having < count_; having *= 2, ++round) {
            if (position < having && position + having < count_) { visit(round, rank_at(position + having)); }
        }
    }

   private:
    FanOut(std::int64_t root, std::int64_t base, std::int64_t stride, std::int64_t members,
           std::int64_t nearest) noexcept;

    /// Saves the rounds where all that read can well send to all.
    bool is_star() const noexcept { return count_ <= 4; }

    std::int64_t position_of(std::int64_t rank) const noexcept;
    int rank_at(std::int64_t position) const noexcept;

    std::int64_t root_;
    std::int64_t base_;
    std::int64_t stride_;
    std::int64_t members_;
    std::int64_t first_;    ///< number of the member that comes after the root, or is it
    std::int64_t outside_;  ///< 1 if the root is no member itself
    std::int64_t count_;    ///< with the root
};

}  // namespace shardwise
