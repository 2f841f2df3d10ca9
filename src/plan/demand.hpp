/// @file
/// Who needs what of which stored tensor: parameters in plan order, and stored tensors in the order they are wanted.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <shardwise/plan.hpp>

#include "mapping/parameters.hpp"
#include "plan/copy_block.hpp"

namespace shardwise {

/// The blocks that fill what tensor-parallel rank @p tp_rank holds of a parameter; their sources are stored tensors.
struct SourceBlock {
    std::uint32_t source = 0;  ///< index into Catalog::tensors()
    CopyBlock block;
};
std::vector<SourceBlock> blocks_of(Parameter const& parameter, View const& view, std::uint32_t tensor,
                                   std::int64_t tp_rank);

/// One stored tensor that is wanted, and by which parameters.
struct SourceUse {
    std::uint32_t source = 0;
    std::vector<std::uint32_t> tensors;   ///< plan order; nearly always one
    ByteRange needed = {};                ///< bytes of the stored tensor that some rank needs, as one range
    bool is_whole_everywhere = true;      ///< every rank needs all of it
    RangeEstimate direct = {};            ///< what the rank with the largest part reads if it reads for itself
    std::uint64_t used_bytes = 0;         ///< of that, without the gaps
    std::uint64_t runs = 0;               ///< pieces that those are in
    std::uint64_t unit_bytes = 1;         ///< that must stay together: elements that are cast come in one piece
};

struct DemandOptions {
    std::int64_t tp = 1;
    std::span<std::string const> priority;  ///< shell patterns; tensors of an earlier one come first
    std::uint64_t max_gap = 0;              ///< bytes between two runs up to which one read takes both
};

/// Demands on a checkpoint. Index `tensor` everywhere is the place in plan order.
class Demand {
   public:
    Demand(Catalog const& catalog, Parameters parameters, DemandOptions const& options);

    std::span<Parameter const> parameters() const noexcept { return parameters_; }
    std::span<SourceUse const> uses() const noexcept { return uses_; }

    /// Blocks of stored tensor @p use needed by @p tp_rank, ordered by source offset. Views are computed again, one
    /// parameter at a time, so asking in the order of uses() is cheap.
    std::vector<CopyBlock> blocks_for(SourceUse const& use, std::int64_t tp_rank);

   private:
    struct CachedBlocks {
        std::uint32_t tensor = 0;
        std::int64_t tp_rank = 0;
        std::vector<SourceBlock> blocks;  ///< ordered by (source, block.source)
    };
    CachedBlocks const& cached(std::uint32_t tensor, std::int64_t tp_rank);
    void add_uses(std::uint32_t tensor, std::vector<std::uint32_t>& use_of_source, std::uint64_t max_gap);

    std::vector<Parameter> parameters_;
    std::vector<SourceUse> uses_;
    std::vector<CachedBlocks> cache_;  ///< most recently used first
    std::size_t cache_limit_;
};

}  // namespace shardwise
