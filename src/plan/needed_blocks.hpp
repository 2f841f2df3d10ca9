/// @file
/// Which bytes of a stored tensor a rank needs, asked tensor after tensor.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

#include "plan/demand.hpp"
#include "plan/source_blocks.hpp"

namespace shardwise {

/// Blocks of a demand's stored tensors. What ranks hold alike is worked out once, and kept for the parameters of a
/// layer and some more, so that asking in the order of Demand::uses() is cheap. Each thread has one of its own.
class NeededBlocks {
   public:
    /// @param numbers what blocks call a parameter, by its place in the demand. Both must outlive this.
    NeededBlocks(Demand const& demand, std::span<std::uint32_t const> numbers) : demand_(demand), numbers_(numbers) {}

    /// Blocks of stored tensor @p use needed by @p rank, ordered by source offset; they last until more are asked for.
    std::span<CopyBlock const> of(SourceUse const& use, std::int64_t rank);

   private:
    /// The blocks of one parameter.
    struct Known {
        std::uint32_t tensor = 0;
        View view;
        std::vector<std::optional<BlocksBySource>> blocks;  ///< by rank of the first copy
    };

    std::span<CopyBlock const> of_parameter(std::uint32_t tensor, std::uint32_t source, std::int64_t rank);
    Known& known(std::uint32_t tensor);

    Demand const& demand_;
    std::span<std::uint32_t const> numbers_;
    std::vector<Known> known_;        ///< most recently used first
    std::vector<CopyBlock> several_;  ///< answer for a stored tensor of several parameters
};

}  // namespace shardwise
