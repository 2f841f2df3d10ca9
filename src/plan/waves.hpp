/// @file
/// Reads that all ranks share: stretches of files gathered into waves, each cut into one stripe a rank.
///
/// A wave is a line of bytes: its stretches one after the other, each at the place on the line that equals its file
/// offset modulo kSlotAlignment. The line is cut into stripes of equal length at multiples of kSlotAlignment; stripe k
/// of wave w is read by rank (k + w) mod world into its slot, where it lies as it does on the line. So who reads what,
/// and where it lies, follows from the stretches by arithmetic; nothing is stored per rank.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

#include "plan/copy_block.hpp"
#include "plan/demand.hpp"

namespace shardwise {

/// A stretch of a file in a wave, and the stored tensors it was made for.
struct Stretch {
    FileRange range;
    std::uint64_t line_begin = 0;  ///< place of its first byte on the wave's line
};

/// A part of one wanted tensor in a wave; bytes count from the stored tensor's first byte.
struct WavePart {
    std::uint32_t use = 0;  ///< index into Demand::uses()
    ByteRange bytes;
    std::uint64_t line_begin = 0;
};

struct WaveShape {
    std::vector<Stretch> stretches;
    std::vector<WavePart> parts;
    std::uint64_t line_bytes = 0;
    std::uint64_t stripe_bytes = 0;
};

struct WaveLimits {
    std::int64_t world = 1;                          ///< ranks that share the reading
    std::uint64_t wave_bytes = 0;                    ///< a wave's line is not longer; a multiple of world pages
    std::uint64_t max_gap = 4096;                    ///< holes up to this are read over
    /// Fewer ranks read rather than shorter stripes, if the line allows
    std::uint64_t min_stripe_bytes = 128ULL << 10U;
};

/// Gathers wanted tensors into waves, in the order they are added.
class WaveBuilder {
   public:
    explicit WaveBuilder(WaveLimits limits) : limits_(limits) {}

    void add(std::uint32_t use, TensorRecord const& stored, ByteRange needed);
    std::vector<WaveShape> finish();

   private:
    /// Place on the line for a stretch that begins at @p begin; the line may have to grow over a gap.
    std::uint64_t place_for(FileRange const& range) const;
    void close();

    WaveLimits limits_;
    WaveShape open_;
    std::vector<WaveShape> done_;
};

/// Stages that share the reading of what all of them need, and the waves that do it.
struct ReadGroup {
    std::vector<std::int64_t> stages;  ///< ascending
    std::vector<WaveShape> shapes;
    bool is_shared = false;      ///< these are all stages, and every rank needs every byte
    std::size_t first_wave = 0;  ///< among the waves of the plan

    std::int64_t ranks(Mesh const& mesh) const noexcept;
    std::int64_t rank(Mesh const& mesh, std::int64_t index) const noexcept;

    /// Nothing if @p rank is of another stage.
    std::optional<std::int64_t> index(Mesh const& mesh, std::int64_t rank) const noexcept;
};

/// Decides when each group's waves come: groups that have no stage in common go on at the same time. The number of
/// waves of the plan.
std::size_t schedule(std::span<ReadGroup> groups);

/// Fills in what the plan's rank does in the waves.
/// @param plan its mesh and rank are set; waves and wave_blocks are filled, slot_bytes set.
/// @param wave_count as schedule gave it.
void assign_waves(Plan& plan, std::span<ReadGroup const> groups, std::size_t wave_count, Demand& demand,
                  std::uint64_t request_bytes);

}  // namespace shardwise
