/// @file
/// Reads that all ranks share: stretches of files gathered into waves, each cut into stripes, one a rank that reads.
///
/// A wave is a line of bytes: its stretches one after the other, each at the place on the line that equals its file
/// offset modulo kSlotAlignment. The line is cut into stripes of equal length at multiples of kSlotAlignment. Each
/// pipeline stage reads as many of them; those of wave w are read by ranks at equal distances, turned on by one from
/// wave to wave, so that all ranks read equally much and those of one wave sit on nodes apart. A stripe lies in its
/// reader's slot as it does on the line. So who reads what, and where it lies, follows from the stretches by
/// arithmetic; nothing is stored per rank.
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
    std::int64_t stripes = 1;        ///< of a wave at most
    std::uint64_t stripe_bytes = 0;  ///< no stripe is longer; whole pages
    std::uint64_t max_gap = 4096;    ///< holes up to this are read over
    /// Fewer ranks read rather than shorter stripes, if the line allows
    std::uint64_t min_stripe_bytes = 128ULL << 10U;
    std::uint64_t wave_bytes() const noexcept { return static_cast<std::uint64_t>(stripes) * stripe_bytes; }
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
    Stages stages;
    std::vector<WaveShape> shapes;
    bool is_shared = false;      ///< these are all stages, and every rank needs every byte
    std::int64_t stage_stripes = 1;  ///< of a wave that ranks of one stage read
    std::size_t first_wave = 0;      ///< among the waves of the plan
};

/// Who reads which stripes of a group's waves.
class StripeReaders {
   public:
    StripeReaders(Mesh const& mesh, std::span<std::int64_t const> stages, std::int64_t stage_stripes)
        : mesh_(mesh),
          stages_(stages),
          stage_ranks_(mesh.world() / mesh.pp),
          stage_stripes_(stage_stripes),
          distance_(stage_ranks_ / stage_stripes) {}

    /// The rank that reads @p stripe of wave @p wave of the group.
    std::int64_t rank(std::size_t wave, std::uint64_t stripe) const noexcept;

    /// The stripe that @p rank reads, if it reads any.
    std::optional<std::uint64_t> stripe(std::size_t wave, std::int64_t rank) const noexcept;

    /// Place of the reader of @p stripe among all that read at the same time, of whatever group; below
    /// pp * stage_stripes. A rank keeps its own where every rank reads in every wave: so does the memory behind it.
    std::uint32_t seat(std::size_t wave, std::uint64_t stripe) const noexcept;

   private:
    Mesh mesh_;
    std::span<std::int64_t const> stages_;
    std::int64_t stage_ranks_;
    std::int64_t stage_stripes_;
    std::int64_t distance_;  ///< between two of a stage that read in one wave
};

/// Decides when each group's waves come: groups that have no stage in common go on at the same time. The number of
/// waves of the plan.
std::size_t schedule(std::span<ReadGroup> groups);

/// Fills in what the plan's rank does in the waves.
/// @param plan its mesh and rank are set; waves are filled, slot_bytes and seats set, what is read over is counted.
/// @param wave_count as schedule gave it.
/// @param numbers of the demand's parameters, as NeededBlocks has them.
void assign_waves(Plan& plan, std::span<ReadGroup const> groups, std::size_t wave_count, Demand const& demand,
                  std::span<std::uint32_t const> numbers);

}  // namespace shardwise
