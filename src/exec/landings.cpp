#include "exec/landings.hpp"

#include <algorithm>

#include "convert/runs.hpp"
#include "plan/copy_block.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

/// More would not fit into one call of the system together with what lies between them.
constexpr std::size_t kMostLandings = 256;

ByteRange span_of(CopyBlock const& block) noexcept {
    return {block.source, block.source + block.source_span()};
}

/// True if a block of its own bytes, long runs of them, moved as they are.
bool may_land(std::span<CopyBlock const> blocks, std::size_t index) noexcept {
    auto const& block = blocks[index];
    if (!block.cast.is_move() || block.tensor == kElsewhere || block.run_bytes < kLeastLanding) { return false; }
    auto const own = span_of(block);
    return std::ranges::none_of(blocks, [&](CopyBlock const& other) {
        auto const span = span_of(other);
        return &other != &block && span.begin < own.end && own.begin < span.end;
    });
}

bool has_long_runs(std::span<CopyBlock const> blocks) noexcept {
    return std::ranges::any_of(blocks, [](CopyBlock const& block) { return block.run_bytes >= kLeastLanding; });
}

class Finder {
   public:
    Finder(FileRange const& range, TensorSpans tensors, std::uint64_t memory_alignment)
        : range_(range), tensors_(tensors), memory_alignment_(memory_alignment) {}

    void add(CopyBlock const& block) {
        std::uint64_t at = 0;  // from the range's first byte: all of the block before it is landed or in the rest
        for_each_run(block, [&](std::uint64_t source, std::uint64_t target, std::uint64_t bytes) {
            auto const begin = align_up(range_.begin + source, kSlotAlignment);
            auto const end = align_down(range_.begin + source + bytes, kSlotAlignment);
            if (begin >= end || found.landings.size() == kMostLandings) { return; }
            auto const from_start = begin - range_.begin;
            auto const into = tensors_[block.tensor].subspan(target + (from_start - source), end - begin);
            if (reinterpret_cast<std::uintptr_t>(into.data()) % memory_alignment_ != 0) { return; }
            found.landings.push_back({begin, into});
            leave(block, {at, from_start});
            at = end - range_.begin;
        });
        leave(block, {at, range_.size_bytes});
    }

    Landings found;

   private:
    /// The parts of @p block in @p part are copied.
    void leave(CopyBlock const& block, ByteRange part) {
        auto const span = span_of(block);
        if (part.begin < span.end && span.begin < part.end && part.size() > 0) { clip(block, part, found.rest); }
    }

    FileRange range_;
    TensorSpans tensors_;
    std::uint64_t memory_alignment_;
};

}  // namespace

Landings find_landings(FileRange const& range, std::span<CopyBlock const> blocks, TensorSpans tensors,
                       std::uint64_t memory_alignment) {
    if (!has_long_runs(blocks)) { return {}; }
    Finder finder(range, tensors, memory_alignment);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        if (may_land(blocks, i)) {
            finder.add(blocks[i]);
        } else {
            finder.found.rest.push_back(blocks[i]);
        }
    }
    if (finder.found.landings.empty()) { return {}; }
    std::ranges::sort(finder.found.landings, {}, &Landing::begin);
    return std::move(finder.found);
}

}  // namespace shardwise
