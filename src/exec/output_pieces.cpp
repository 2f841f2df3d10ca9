#include "exec/output_pieces.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "convert/runs.hpp"

namespace shardwise {
namespace {

/// Calls @p visit(stored tensor) for every leaf.
template <class Visit>
void for_each_source(Expression const& expression, Visit const& visit) {
    if (expression.kind == Expression::Kind::source) { visit(expression.source); }
    for (auto const& input : expression.inputs) { for_each_source(input, visit); }
}

/// The source side of a block alone, loops joined where they are one: the same for the same bytes, whatever tensor they
/// go to.
std::vector<std::uint64_t> source_key(CopyBlock const& block) {
    std::uint64_t run = block.run_bytes;
    std::vector<CopyLoop> loops;  // innermost first
    for (auto loop = block.loops.rbegin(); loop != block.loops.rend(); ++loop) {
        if (loops.empty() && loop->source_stride == run) {
            run *= loop->count;
        } else if (!loops.empty() && loop->source_stride == loops.back().count * loops.back().source_stride) {
            loops.back().count *= loop->count;
        } else {
            loops.push_back(*loop);
        }
    }
    std::vector<std::uint64_t> key = {block.source, run};
    for (auto const& loop : loops) { key.insert(key.end(), {loop.count, loop.source_stride}); }
    return key;
}

}  // namespace

ShardPieces::ShardPieces(Catalog const& catalog, Parameters parameters, Mesh const& mesh)
    : catalog_(catalog),
      mesh_(mesh),
      parameters_(std::move(parameters.list)),
      is_held_(sources_of(parameters_, catalog)),
      users_(catalog.tensors().size()) {
    for (std::uint32_t parameter = 0; parameter < parameters_.size(); ++parameter) {
        for_each_source(parameters_[parameter].value, [&](std::uint32_t source) {
            auto& users = users_[source];
            if (users.empty() || users.back() != parameter) { users.push_back(parameter); }
        });
    }
    check_complete();
}

std::vector<ShardPieces::HeldBlock> ShardPieces::lower_all(std::uint32_t parameter) const {
    auto const view = evaluate(parameters_[parameter].value);
    std::vector<HeldBlock> blocks;
    for (std::int64_t rank = 0; rank < mesh_.world(); ++rank) {
        bool const is_copy = mesh_.leader(rank) != rank;
        if (is_copy || !shardwise::is_held(parameters_[parameter].placement, mesh_, rank)) { continue; }
        for (auto& [source, block] : blocks_of(parameters_[parameter], view, parameter, mesh_, rank)) {
            blocks.push_back({source, rank, std::move(block)});
        }
    }
    std::stable_sort(blocks.begin(), blocks.end(), [](HeldBlock const& a, HeldBlock const& b) {
        return std::tie(a.source, a.rank) < std::tie(b.source, b.rank);
    });
    return blocks;
}

ShardPieces::Lowered const& ShardPieces::lowered(std::uint32_t parameter) {
    constexpr std::size_t kMostBlocks = 1'000'000;  // some 100 MB
    auto const found = std::find_if(known_.rbegin(), known_.rend(),
                                    [&](Lowered const& known) { return known.parameter == parameter; });
    if (found != known_.rend()) { return *found; }
    known_.push_back({parameter, lower_all(parameter)});
    known_blocks_ += known_.back().blocks.size();
    while (known_blocks_ > kMostBlocks && known_.size() > 1) {
        known_blocks_ -= known_.front().blocks.size();
        known_.pop_front();
    }
    return known_.back();
}

/// Of equal blocks one is enough. Where ranks share a part of what they hold (heads that several of them have, cut
/// unevenly once more) the same bytes come several times, which does no harm.
std::vector<Piece> ShardPieces::pieces_of(std::uint32_t item, int writer) {
    auto const nearest = mesh_.leader(writer);
    auto const to_own_copy = writer - nearest;
    std::vector<Piece> pieces;
    std::set<std::vector<std::uint64_t>> taken;
    auto const take = [&](auto first, auto last) {
        for (; first != last; ++first) {
            if (!taken.insert(source_key(first->block)).second) { continue; }
            pieces.push_back({static_cast<int>(first->rank + to_own_copy), first->block});
        }
    };
    for (auto const parameter : users_[item]) {
        auto const& blocks = lowered(parameter).blocks;
        auto const place = [&](std::uint32_t source, std::int64_t rank) {
            return std::lower_bound(
                blocks.begin(), blocks.end(), std::pair(source, rank),
                [](HeldBlock const& a, auto const& b) { return std::pair(a.source, a.rank) < b; });
        };
        auto const from_nearest = place(item, nearest);
        take(from_nearest, place(item + 1, 0));
        take(place(item, 0), from_nearest);
    }
    return pieces;
}

std::uint64_t ShardPieces::covered_bytes(std::uint32_t item) const {
    std::vector<ByteRange> runs;
    for (auto const parameter : users_[item]) {
        for (auto const& [source, rank, block] : lower_all(parameter)) {
            if (source != item) { continue; }
            for_each_run(block, [&](std::uint64_t at, std::uint64_t, std::uint64_t size) {
                runs.push_back({at, at + size});
            });
        }
    }
    std::sort(runs.begin(), runs.end(), [](ByteRange const& a, ByteRange const& b) { return a.begin < b.begin; });
    std::uint64_t covered = 0;
    std::uint64_t end = 0;
    for (auto const& run : runs) {
        covered += std::max(run.end, end) - std::max(run.begin, end);
        end = std::max(run.end, end);
    }
    return covered;
}

void ShardPieces::check_complete() const {
    std::vector<std::uint64_t> held(catalog_.tensors().size(), 0);
    for (std::uint32_t parameter = 0; parameter < parameters_.size(); ++parameter) {
        std::set<std::vector<std::uint64_t>> taken;  // of one stored tensor
        auto const blocks = lower_all(parameter);
        for (std::size_t i = 0; i < blocks.size(); ++i) {
            if (i > 0 && blocks[i].source != blocks[i - 1].source) { taken.clear(); }
            if (taken.insert(source_key(blocks[i].block)).second) { held[blocks[i].source] += blocks[i].block.bytes(); }
        }
    }
    for (std::uint32_t item = 0; item < held.size(); ++item) {
        auto const& stored = catalog_.tensors()[item];
        if (held[item] > stored.size_bytes) { held[item] = covered_bytes(item); }
        if (!is_held_[item] || held[item] == stored.size_bytes) { continue; }
        throw Error(Errc::input, fmt::format("{}: the ranks hold {} of its {} B, so the checkpoint cannot be put "
                                             "together; load all parameters that are made of it",
                                             stored.name, held[item], stored.size_bytes));
    }
}

std::vector<bool> sources_of(std::span<Parameter const> parameters, Catalog const& catalog) {
    std::vector<bool> is_held(catalog.tensors().size(), false);
    for (auto const& parameter : parameters) {
        for_each_source(parameter.value, [&](std::uint32_t source) { is_held[source] = true; });
    }
    return is_held;
}

std::vector<Piece> ModelPieces::pieces_of(std::uint32_t item, int) {
    auto const& value = parameters_[item].value;
    std::vector<Piece> pieces;
    for (auto const& region : evaluate(value).regions) {
        pieces.push_back({0, swapped(lower(region, value.shape, value.dtype))});
        pieces.back().block.tensor = region.source;
    }
    return pieces;
}

std::vector<Window> windows_of(CheckpointLayout const& layout, std::span<int const> writer_of, int rank,
                               std::uint64_t window_bytes) {
    std::vector<Window> windows;
    for (std::uint32_t file = 0; file < layout.files.size(); ++file) {
        if (writer_of[file] != rank) { continue; }
        auto const size = layout.files[file].data_bytes;
        std::uint64_t begin = 0;
        do {
            auto const end = std::min(begin + window_bytes, size);
            windows.push_back({file, {begin, end}, end == size});
            begin = end;
        } while (begin < size);
    }
    return windows;
}

std::vector<Piece> const& WindowParts::pieces_of(OutputTensor const& tensor, int writer) {
    auto& known = known_[writer];
    if (known.tensor != &tensor) { known = {&tensor, pieces_.pieces_of(tensor.item, writer)}; }
    return known.pieces;
}

std::vector<Piece> WindowParts::parts_of(Window const& window, int writer) {
    auto const& tensors = layout_.files[window.file].tensors;
    auto tensor = std::upper_bound(tensors.begin(), tensors.end(), window.range.begin,
                                   [](std::uint64_t at, OutputTensor const& t) { return at < t.end(); });
    std::vector<Piece> parts;
    std::vector<CopyBlock> clipped;
    for (; tensor != tensors.end() && tensor->begin < window.range.end; ++tensor) {
        ByteRange const inside = {std::max(window.range.begin, tensor->begin) - tensor->begin,
                                  std::min(window.range.end, tensor->end()) - tensor->begin};
        for (auto const& piece : pieces_of(*tensor, writer)) {
            clipped.clear();
            clip(piece.block, inside, clipped);
            for (auto& block : clipped) {
                block.source = block.source + tensor->begin - window.range.begin;
                parts.push_back({piece.holder, std::move(block)});
            }
        }
    }
    return parts;
}

}  // namespace shardwise
