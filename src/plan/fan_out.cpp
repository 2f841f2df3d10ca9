#include "plan/fan_out.hpp"

namespace shardwise {

FanOut::FanOut(std::int64_t root, std::int64_t base, std::int64_t stride, std::int64_t members,
               std::int64_t nearest) noexcept
    : root_(root),
      base_(base),
      stride_(stride),
      members_(members),
      first_(nearest),
      outside_(base + nearest * stride == root ? 0 : 1),
      count_(members + outside_) {}

FanOut FanOut::to_replicas(Mesh const& mesh, std::int64_t root, std::int64_t receiver) noexcept {
    auto const stage_ranks = mesh.dp * mesh.copy_ranks();
    return {root, mesh.leader(receiver), mesh.copy_ranks(), mesh.dp, root % stage_ranks / mesh.copy_ranks()};
}

FanOut FanOut::to_all(Mesh const& mesh, std::int64_t root) noexcept {
    return {root, 0, 1, mesh.world(), root};
}

std::optional<FanOut::Hop> FanOut::way_to(int rank) const noexcept {
    auto const position = position_of(rank);
    if (position == 0) { return std::nullopt; }
    if (is_star()) { return Hop{0, static_cast<int>(root_)}; }
    Hop hop;
    std::int64_t having = 1;
    for (; 2 * having <= position; having *= 2) { ++hop.round; }
    hop.from = rank_at(position - having);
    return hop;
}

std::int64_t FanOut::position_of(std::int64_t rank) const noexcept {
    if (rank == root_) { return 0; }
    return ((rank - base_) / stride_ + members_ - first_) % members_ + outside_;
}

int FanOut::rank_at(std::int64_t position) const noexcept {
    if (position == 0) { return static_cast<int>(root_); }
    return static_cast<int>(base_ + (position - outside_ + first_) % members_ * stride_);
}

}  // namespace shardwise
