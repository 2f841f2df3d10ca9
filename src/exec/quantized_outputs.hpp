/// @file
/// Parameters that are written as FP8 codes with block scales instead of numbers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <shardwise/export.hpp>

#include "convert/block_scale.hpp"
#include "exec/object_reader.hpp"
#include "exec/output_pieces.hpp"
#include "mapping/parameters.hpp"

namespace shardwise {

/// The outputs of a model of which some parameters are quantized: X becomes the codes X, F8_E4M3 of the same shape, and
/// X_scale_inv, F32 with one number a block. Leading dimensions are rows.
class QuantizedOutputs {
   public:
    /// @param options patterns and block.
    /// @throws Error usage for a pattern that fits no parameter of the model; Error input for a parameter whose name
    /// for
    ///         scales is another parameter's.
    QuantizedOutputs(std::span<Parameter const> parameters, QuantizeOptions const& options);

    /// All outputs; items are indices of parameters and, of scales, that plus the number of parameters.
    std::vector<OutputTensor> tensors() const;

    /// Names of parameters that a pattern fits but that are no floating-point matrices of whole blocks: they stay.
    std::vector<std::string> const& left_alone() const noexcept { return left_alone_; }

    /// Modules whose weights are matrices and stay numbers, as config.json lists them.
    std::vector<std::string> modules_left_alone() const;

    /// The pieces of what stays, none of what is quantized.
    PieceMap& plain_pieces() noexcept { return plain_; }

    /// Puts the codes and scales of a window in place.
    void fill(CheckpointLayout const& layout, Window const& window, ObjectReader& reader, std::span<std::byte> bytes);

   private:
    class PlainPieces final : public PieceMap {
       public:
        PlainPieces(ModelPieces& model, std::vector<std::optional<QuantizeShape>> const& shapes)
            : model_(model), shapes_(shapes) {}
        std::vector<Piece> pieces_of(std::uint32_t item, int writer) override;

       private:
        ModelPieces& model_;
        std::vector<std::optional<QuantizeShape>> const& shapes_;
    };

    /// Codes and scales of some block rows.
    struct Quantized {
        std::vector<std::byte> codes;
        std::vector<std::byte> scales;
    };
    Quantized quantize(std::uint32_t parameter, std::uint64_t first_block_row, std::uint64_t block_rows,
                       ObjectReader& reader);
    void fill_part(OutputTensor const& tensor, ByteRange part, ObjectReader& reader, std::span<std::byte> bytes);

    std::span<Parameter const> parameters_;
    std::vector<std::optional<QuantizeShape>> shapes_;  ///< by parameter; nothing: it stays
    std::vector<std::string> left_alone_;
    ModelPieces model_;
    PlainPieces plain_;
    CheckpointLayout values_;  ///< a file a parameter, of its numbers: what blocks of rows are looked up in
    WindowParts value_parts_;
};

}  // namespace shardwise
