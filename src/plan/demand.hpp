/// @file
/// Who needs what of which stored tensor: parameters in plan order, and stored tensors layer after layer in that order,
/// those of a layer as they lie in files.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <shardwise/plan.hpp>

#include "mapping/parameters.hpp"
#include "plan/priority.hpp"
#include "plan/source_blocks.hpp"

namespace shardwise {

/// Pipeline stages, ascending; nearly always one.
using Stages = boost::container::small_vector<std::int64_t, 1>;

/// One stored tensor that is wanted, and by which parameters.
struct SourceUse {
    std::uint32_t source = 0;
    boost::container::small_vector<std::uint32_t, 2> tensors;  ///< plan order; nearly always one
    Stages stages;                                             ///< that need it
    ByteRange needed = {};                ///< bytes of the stored tensor that some rank needs, as one range
    bool is_whole_everywhere = true;      ///< every rank of the stages needs all of it
    double readers_share = 0;             ///< of the ranks of these stages: about how many need any of it
    RangeEstimate direct = {};            ///< what one of them reads if it reads for itself
    std::uint64_t used_bytes = 0;         ///< of that, without the gaps
    std::uint64_t runs = 0;               ///< pieces that those are in
    std::uint64_t unit_bytes = 1;         ///< that must stay together: elements that are cast come in one piece
};

struct DemandOptions {
    Mesh mesh;
    std::span<std::string const> priority;  ///< as PriorityClasses has them; tensors of an earlier class come first
    std::uint32_t files_at_once = 1;        ///< as read_order has it
    std::uint64_t max_gap = 0;              ///< bytes between two runs up to which one read takes both
};

/// Demands of a whole mesh on a checkpoint. Index `tensor` everywhere is the place in plan order, all stages taken
/// together.
class Demand {
   public:
    Demand(Catalog const& catalog, Parameters parameters, DemandOptions const& options);

    std::span<Parameter const> parameters() const noexcept { return parameters_; }
    std::span<SourceUse const> uses() const noexcept { return uses_; }

    /// The priority class of a parameter.
    std::uint32_t priority(std::size_t tensor) const noexcept { return priorities_[tensor]; }

    /// Blocks of stored tensor @p use needed by @p rank, ordered by source offset; they last until more are asked for.
    /// What ranks hold alike is worked out once, and kept for the parameters of a layer and some more, so asking in the
    /// order of uses() is cheap.
    std::span<CopyBlock const> blocks_for(SourceUse const& use, std::int64_t rank);

   private:
    void sort_by_priority(PriorityClasses const& classes);
    void sort_by_place(Catalog const& catalog, std::uint32_t files_at_once);
    std::uint32_t index_of(std::uint32_t source);
    void add_uses(std::uint32_t tensor, std::uint64_t max_gap);
    void add_estimates(std::uint32_t tensor, View const& view, std::uint64_t max_gap);
    std::span<CopyBlock const> blocks_of_source(std::uint32_t tensor, std::uint32_t source, std::int64_t rank);

    Mesh mesh_;
    std::vector<Parameter> parameters_;
    std::vector<std::uint32_t> priorities_;  ///< by parameter
    std::vector<SourceUse> uses_;
    std::vector<std::uint32_t> use_of_source_;  ///< by stored tensor, while uses are collected
    std::vector<std::uint64_t> look_of_use_;    ///< by use: the last look at ranks' blocks that counted it
    std::uint64_t looks_ = 0;
    std::optional<BlockCache> blocks_;
    std::vector<CopyBlock> several_;  ///< answer for a stored tensor of several parameters
};

}  // namespace shardwise
