/// @file
/// Which bytes of stored tensors make up what a rank holds of a parameter.
#pragma once

#include <cstdint>
#include <optional>
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

/// Blocks of the parameters that were asked for last. What ranks hold alike is worked out once.
class BlockCache {
   public:
    BlockCache(Mesh const& mesh, std::size_t limit) : mesh_(mesh), limit_(limit) {}

    /// @param tensor stands for the parameter; blocks are of this tensor.
    BlocksBySource const& of(std::uint32_t tensor, Parameter const& parameter, std::int64_t rank);

   private:
    struct Entry {
        std::uint32_t tensor = 0;
        View view;
        std::vector<std::optional<BlocksBySource>> blocks;  ///< by rank of the first copy
    };

    Mesh mesh_;
    std::size_t limit_;
    std::vector<Entry> entries_;  ///< most recently used first
};

}  // namespace shardwise
