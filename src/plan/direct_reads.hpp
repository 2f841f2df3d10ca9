/// @file
/// Reads that a rank does for itself: ranges of its blocks, merged over small gaps and cut at request size.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

#include "plan/copy_block.hpp"

namespace shardwise {

struct ReadLimits {
    std::uint64_t max_gap = 64ULL << 10U;        ///< holes up to this are read over
    std::uint64_t request_bytes = 4ULL << 20U;   ///< a multiple of kSlotAlignment
};

/// Whole pages of memory for a read whose first byte lies as far from a page's beginning as it does in the file.
std::uint64_t room_bytes(FileRange const& range) noexcept;

/// Collects direct reads, in plan order.
class DirectReads {
   public:
    /// @param facts by file; of cached ones, runs are read straight into place where that costs less than to read
    ///        everything and then copy. Empty: nothing is read out of the page cache.
    explicit DirectReads(ReadLimits limits, std::span<FileFacts const> facts = {}) : limits_(limits), facts_(facts) {}

    /// Adds what this rank needs of one stored tensor. No read goes on after a tensor of another file, be nothing of
    /// that needed: so parts between files may be collected apart.
    /// @param blocks sources count from the tensor's first byte, ordered by it.
    void add(TensorRecord const& stored, std::span<CopyBlock const> blocks);

    /// Adds what was collected of tensors that come later, the first of which lies in another file than the last here.
    void append(DirectReads later);

    std::vector<DirectRead> reads;
    std::vector<CopyBlock> blocks;

   private:
    /// How the bytes of one tensor are read.
    struct Way {
        bool is_scattered;
        std::uint64_t request_bytes;
    };
    Way way_for(std::uint32_t file) const;
    void add_range(std::uint32_t file, ByteRange range, Way way);
    bool extend_last(ByteRange range, Way way);

    ReadLimits limits_;
    std::span<FileFacts const> facts_;
    std::optional<std::uint32_t> file_;  ///< of the last tensor
    bool is_open_ = false;               ///< the last read is of that file, so it may go on
    std::vector<CopyBlock> absolute_;  ///< of the tensor that is added, sources counted from the file's first byte
    std::vector<ByteRange> ranges_;    ///< that it is read in
};

}  // namespace shardwise
