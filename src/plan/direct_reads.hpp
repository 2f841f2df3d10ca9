/// @file
/// Reads that a rank does for itself: ranges of its blocks, merged over small gaps and cut at request size.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

#include "plan/copy_block.hpp"

namespace shardwise {

struct ReadLimits {
    std::uint64_t max_gap = 64ULL << 10U;        ///< holes up to this are read over
    std::uint64_t request_bytes = 4ULL << 20U;   ///< a multiple of kSlotAlignment
};

/// To read from the page cache is to copy, and a system call takes about as long as copying this many bytes. So many
/// runs are read one by one, straight into place, while that costs less than to copy the gaps, too.
inline constexpr std::uint64_t kCallBytes = 4096;

/// Collects direct reads, in plan order.
class DirectReads {
   public:
    explicit DirectReads(ReadLimits limits) : limits_(limits) {}

    /// Adds what this rank needs of one stored tensor.
    /// @param blocks sources count from the tensor's first byte, ordered by it.
    void add(TensorRecord const& stored, std::span<CopyBlock const> blocks);

    /// Lets reads go by runs where that is cheaper, after all have been added; without it none does.
    void read_by_runs(std::span<FileFacts const> facts);

    std::vector<DirectRead> reads;
    std::vector<CopyBlock> blocks;

   private:
    void add_range(std::uint32_t file, ByteRange range, std::span<CopyBlock const> absolute);
    bool extend_last(std::uint32_t file, ByteRange range);

    ReadLimits limits_;
};

}  // namespace shardwise
