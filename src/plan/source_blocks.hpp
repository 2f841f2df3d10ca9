/// @file
/// Which bytes of stored tensors make up what a rank holds of a parameter.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/mesh.hpp>
#include <shardwise/plan.hpp>

#include "mapping/parameters.hpp"
#include "plan/copy_block.hpp"

namespace shardwise {

/// Blocks that fill what a rank holds of a parameter; their sources are stored tensors.
struct SourceBlock {
    std::uint32_t source = 0;  ///< index into Catalog::tensors()
    CopyBlock block;
};

/// What @p rank of @p mesh holds of a parameter, whatever its stage; blocks are of tensor @p tensor.
std::vector<SourceBlock> blocks_of(Parameter const& parameter, View const& view, std::uint32_t tensor, Mesh const& mesh,
                                   std::int64_t rank);

/// The blocks of one parameter and rank, to be looked up by stored tensor.
class BlocksBySource {
   public:
    explicit BlocksBySource(std::vector<SourceBlock> blocks);

    /// Ordered by source offset.
    std::span<CopyBlock const> of(std::uint32_t source) const;

   private:
    std::vector<std::uint32_t> sources_;  ///< ascending
    std::vector<CopyBlock> blocks_;
};

}  // namespace shardwise
