/// @file
/// Who needs what of which stored tensor.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <boost/container/small_vector.hpp>

#include <shardwise/mesh.hpp>

#include "mapping/parameters.hpp"
#include "plan/copy_block.hpp"

namespace shardwise {

/// Pipeline stages, ascending; nearly always one.
using Stages = boost::container::small_vector<std::int64_t, 1>;

/// One stored tensor that is wanted, and by which parameters. There are 10^5 of them.
struct SourceUse {
    std::uint32_t source = 0;
    std::uint32_t unit_bytes = 1;     ///< that must stay together: elements that are cast come in one piece
    bool is_whole_everywhere = true;  ///< every rank of the stages needs all of it
    boost::container::small_vector<std::uint32_t, 2> tensors;  ///< plan order; nearly always one
    ByteRange needed = {};         ///< bytes of the stored tensor that some rank needs, as one range
    double readers_share = 0;      ///< of the ranks of the stages: about how many need any of it
    RangeEstimate direct = {};     ///< what one of them reads if it reads for itself
    std::uint64_t used_bytes = 0;  ///< of that, without the gaps
    std::uint64_t runs = 0;        ///< pieces that those are in
};

/// The stages that need any of it.
/// @param parameters that @p use counts by.
Stages stages_of(SourceUse const& use, std::span<Parameter const> parameters, Mesh const& mesh);

/// The stored tensors that @p parameters are made of, in the order that these first name them. Tensor numbers are
/// places in @p parameters.
/// @param stored_tensors how many the catalog has.
/// @param max_gap bytes between two runs up to which one read takes both.
/// @throws Error input naming the parameter.
std::vector<SourceUse> uses_of(std::span<Parameter const> parameters, std::size_t stored_tensors, Mesh const& mesh,
                               std::uint64_t max_gap);

}  // namespace shardwise
