/// @file
/// Where the bytes of a checkpoint that is to be written come from: the index maps of a load, read backwards.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <shardwise/catalog.hpp>
#include <shardwise/plan.hpp>

#include "mapping/parameters.hpp"
#include "plan/source_blocks.hpp"
#include "sink/checkpoint_layout.hpp"

namespace shardwise {

/// A part of an output, and the object that holds its bytes: a rank's tensor or a stored one.
struct Piece {
    int holder = 0;   ///< rank that has the object; 0 where there is but one process
    CopyBlock block;  ///< source: place in the output; target: place in object block.tensor of the holder
};

/// The pieces of every output tensor. They cover it; where they overlap they say the same.
class PieceMap {
   public:
    virtual ~PieceMap() = default;

    /// @param item of OutputTensor.
    /// @param writer rank that writes it: of several ranks that hold the same, the first one from it on is taken.
    virtual std::vector<Piece> pieces_of(std::uint32_t item, int writer) = 0;
};

/// Stored tensors out of what ranks hold. The blocks that fill a rank's tensors say, read backwards, which bytes of
/// them belong where in the stored tensor: exact for every chain of operations and every cut. Items are stored tensors,
/// objects parameters.
class ShardPieces final : public PieceMap {
   public:
      /// @param catalog of the checkpoint that was loaded, as its parameters are held: no values change between the two
      ///        (see held_checkpoint); must outlive this.
      /// @throws Error input naming the first stored tensor of which only a part was loaded.
      ShardPieces(Catalog const& catalog, Parameters parameters, Mesh const& mesh);

      std::vector<Piece> pieces_of(std::uint32_t item, int writer) override;

      std::span<Parameter const> parameters() const noexcept { return parameters_; }

      /// By stored tensor: some parameter is made of it.
      std::vector<bool> const& is_held() const noexcept { return is_held_; }

   private:
    /// A block of a stored tensor that a rank holds.
    struct HeldBlock {
        std::uint32_t source = 0;
        std::int64_t rank = 0;  ///< of the first copy
        CopyBlock block;
    };
    /// All blocks of a parameter, ordered by source and rank.
    struct Lowered {
        std::uint32_t parameter = 0;
        std::vector<HeldBlock> blocks;
    };
    std::vector<HeldBlock> lower_all(std::uint32_t parameter) const;
    Lowered const& lowered(std::uint32_t parameter);
    std::uint64_t covered_bytes(std::uint32_t item) const;
    void check_complete() const;

    Catalog const& catalog_;
    Mesh mesh_;
    std::vector<Parameter> parameters_;
    std::vector<bool> is_held_;
    std::vector<std::vector<std::uint32_t>> users_;  ///< by stored tensor: parameters that are made of it
    std::deque<Lowered> known_;                      ///< lately used, oldest first: files take experts by turns
    std::size_t known_blocks_ = 0;
};

/// By stored tensor: some parameter is made of it.
std::vector<bool> sources_of(std::span<Parameter const> parameters, Catalog const& catalog);

/// Parameters of the whole model out of stored tensors. Items are parameters, objects stored tensors.
class ModelPieces final : public PieceMap {
   public:
    /// @param parameters must outlive this.
    explicit ModelPieces(std::span<Parameter const> parameters) : parameters_(parameters) {}

    std::vector<Piece> pieces_of(std::uint32_t item, int writer) override;

   private:
    std::span<Parameter const> parameters_;
};

/// A part of the data of an output file that is put together in memory and written at once.
struct Window {
    std::uint32_t file = 0;  ///< of the layout
    ByteRange range;
    bool is_last = false;  ///< of its file
};

/// The windows of those files that are dealt to @p rank, in the order in which they are written; at least one a file.
std::vector<Window> windows_of(CheckpointLayout const& layout, std::span<int const> writer_of, int rank,
                               std::uint64_t window_bytes);

/// Cuts the pieces of tensors to windows.
class WindowParts {
   public:
    WindowParts(CheckpointLayout const& layout, PieceMap& pieces) : layout_(layout), pieces_(pieces) {}

    /// Everything that fills a window; sources count from its first byte.
    std::vector<Piece> parts_of(Window const& window, int writer);

   private:
    struct Known {
        OutputTensor const* tensor = nullptr;
        std::vector<Piece> pieces;
    };
    std::vector<Piece> const& pieces_of(OutputTensor const& tensor, int writer);

    CheckpointLayout const& layout_;
    PieceMap& pieces_;
    std::map<int, Known> known_;  ///< by writer, its last one: a long tensor fills many windows
};

}  // namespace shardwise
