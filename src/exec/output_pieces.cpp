#include "exec/output_pieces.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

constexpr std::uint32_t kNoUse = ~std::uint32_t{0};

void mark_sources(Expression const& expression, std::vector<bool>& is_held) {
    if (expression.kind == Expression::Kind::source) { is_held[expression.source] = true; }
    for (auto const& input : expression.inputs) { mark_sources(input, is_held); }
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

std::uint64_t bytes_in(std::span<Piece const> pieces) {
    std::uint64_t bytes = 0;
    for (auto const& piece : pieces) { bytes += piece.block.bytes(); }
    return bytes;
}

}  // namespace

ShardPieces::ShardPieces(Catalog const& catalog, Parameters parameters, Mesh const& mesh,
                         std::span<std::string const> priority)
    : catalog_(catalog),
      mesh_(mesh),
      demand_(catalog, std::move(parameters), {mesh.tp, priority, 0}),
      use_of_(catalog.tensors().size(), kNoUse),
      is_held_(sources_of(demand_.parameters(), catalog)) {
    for (std::uint32_t use = 0; use < demand_.uses().size(); ++use) { use_of_[demand_.uses()[use].source] = use; }
    check_complete();
}

/// Ranks hold either the same bytes of a tensor or none in common, so one of equal blocks is enough.
std::vector<Piece> ShardPieces::pieces_of(std::uint32_t item, int writer) {
    std::vector<Piece> pieces;
    if (use_of_[item] == kNoUse) { return pieces; }
    auto const& use = demand_.uses()[use_of_[item]];
    auto const nearest = mesh_.tp_rank(writer);
    std::set<std::vector<std::uint64_t>> taken;
    std::uint64_t found = 0;
    for (std::int64_t i = 0; i < mesh_.tp && found < catalog_.tensors()[item].size_bytes; ++i) {
        auto const tp_rank = (nearest + i) % mesh_.tp;
        auto const holder = static_cast<int>(writer - nearest + tp_rank);
        for (auto& block : demand_.blocks_for(use, tp_rank)) {
            if (!taken.insert(source_key(block)).second) { continue; }
            found += block.bytes();
            pieces.push_back({holder, std::move(block)});
        }
    }
    return pieces;
}

void ShardPieces::check_complete() {
    for (std::uint32_t item = 0; item < is_held_.size(); ++item) {
        if (!is_held_[item]) { continue; }
        auto const& stored = catalog_.tensors()[item];
        auto const held = bytes_in(pieces_of(item, 0));
        if (held == stored.size_bytes) { continue; }
        throw Error(Errc::input, fmt::format("{}: the ranks hold {} of its {} B, so the checkpoint cannot be put "
                                             "together; load all parameters that are made of it",
                                             stored.name, held, stored.size_bytes));
    }
}

std::vector<bool> sources_of(std::span<Parameter const> parameters, Catalog const& catalog) {
    std::vector<bool> is_held(catalog.tensors().size(), false);
    for (auto const& parameter : parameters) { mark_sources(parameter.value, is_held); }
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
