/// @file
/// Walking the runs of a copy block.
#pragma once

#include <cstddef>
#include <cstdint>

#include <shardwise/plan.hpp>

namespace shardwise {

/// Calls @p visit(source offset, target offset, bytes) for each run under loop @p level, in the order of the loops.
template <class Visit>
void for_each_run_below(CopyBlock const& block, std::size_t level, std::uint64_t source, std::uint64_t target,
                        Visit const& visit) {
    if (level == block.loops.size()) { return visit(source, target, block.run_bytes); }
    auto const& loop = block.loops[level];
    for (std::uint64_t i = 0; i < loop.count; ++i) {
        for_each_run_below(block, level + 1, source + i * loop.source_stride, target + i * loop.target_stride, visit);
    }
}

/// The innermost loop of a block; one step if it has none.
inline CopyLoop innermost_loop(CopyBlock const& block) {
    return block.loops.empty() ? CopyLoop{} : block.loops.back();
}

/// Calls @p visit(source offset, target offset) for each round of the innermost loop.
template <class Visit>
void for_each_row(CopyBlock const& block, Visit const& visit) {
    CopyBlock outer{0, 0, 0, 0, block.loops};
    if (!outer.loops.empty()) { outer.loops.pop_back(); }
    for_each_run_below(outer, 0, block.source, block.target,
                       [&](std::uint64_t source, std::uint64_t target, std::uint64_t) { visit(source, target); });
}

/// Calls @p visit(source offset, target offset, bytes) for each run. The innermost loop is written out, so that a row
/// is one iteration and not one call.
template <class Visit>
void for_each_run(CopyBlock const& block, Visit const& visit) {
    auto const inner = innermost_loop(block);
    for_each_row(block, [&](std::uint64_t source, std::uint64_t target) {
        for (std::uint64_t i = 0; i < inner.count; ++i) {
            visit(source + i * inner.source_stride, target + i * inner.target_stride, block.run_bytes);
        }
    });
}

}  // namespace shardwise
