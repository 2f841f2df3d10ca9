/// @file
/// Reads that all ranks share: stretches of files gathered into waves, each cut into one stripe a rank.
///
/// A wave is a line of bytes: its stretches one after the other, each at the place on the line that equals its file
/// offset modulo kSlotAlignment. The line is cut into stripes of equal length at multiples of kSlotAlignment; stripe k
/// of wave w is read by rank (k + w) mod world into its slot, where it lies as it does on the line. So who reads what,
/// and where it lies, follows from the stretches by arithmetic; nothing is stored per rank.
#pragma once

#include <cstdint>
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
    std::int64_t world = 1;
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

/// Fills in what rank @p rank does in the waves.
/// @param plan its mesh and rank are set; waves and wave_blocks are filled, slot_bytes set.
void assign_waves(Plan& plan, std::span<WaveShape const> shapes, Demand& demand, std::uint64_t request_bytes);

}  // namespace shardwise
