/// @file
/// How the ranks of a job are arranged: pipeline stages, replicas, and the ranks that hold one copy of a stage
/// together.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace shardwise {

/// What a parameter can be cut among. tp and fsdp are one view of the ranks that share a copy of a stage, ep and efsdp
/// the other, that of experts.
enum class MeshAxis : std::uint8_t { tp, fsdp, ep, efsdp };
char const* to_string(MeshAxis axis) noexcept;

/// The ranks of a job, row-major in (pp, dp, fsdp, tp), the last fastest. Experts see the same ranks as
/// (pp, dp, efsdp, ep), efsdp being fsdp * tp / ep.
///
/// Example: fsdp 2, tp 2, ep 4: rank 3 is fsdp 1, tp 1 and holds the last of four parts of the experts.
struct Mesh {
    std::int64_t pp = 1;    ///< stages, each with its own layers
    std::int64_t dp = 1;    ///< replicas of every stage
    std::int64_t fsdp = 1;  ///< ranks among which dimension 0 of what tp leaves is cut
    std::int64_t tp = 1;    ///< ranks among which tensors are cut as the plan says
    std::int64_t ep = 0;    ///< ranks among which experts are dealt, a multiple of tp; 0: as tp

    std::int64_t world() const noexcept { return pp * dp * copy_ranks(); }

    /// Ranks that hold one copy of a stage together.
    std::int64_t copy_ranks() const noexcept { return fsdp * tp; }

    std::int64_t expert_ranks() const noexcept { return ep == 0 ? tp : ep; }

    std::int64_t stage(std::int64_t rank) const noexcept { return rank / (dp * copy_ranks()); }

    /// The first of the ranks that hold the same as @p rank, one in each replica; they are copy_ranks() apart.
    std::int64_t leader(std::int64_t rank) const noexcept {
        return stage(rank) * dp * copy_ranks() + rank % copy_ranks();
    }

    std::int64_t size(MeshAxis axis) const noexcept;

    /// How far apart two neighbours along the axis are.
    std::int64_t stride(MeshAxis axis) const noexcept;

    std::int64_t coordinate(MeshAxis axis, std::int64_t rank) const noexcept {
        return rank % copy_ranks() / stride(axis) % size(axis);
    }

    auto operator<=>(Mesh const&) const = default;
};

/// @throws Error usage naming options and numbers: a size below 1, more ranks than can be counted, an ep that is no
///         multiple of tp or does not divide fsdp * tp.
void check(Mesh const& mesh);

/// Example: "tp 4, dp 1", "tp 2, dp 1, fsdp 2, pp 2, ep 4".
std::string to_string(Mesh const& mesh);

}  // namespace shardwise
