/// @file
/// Stored tensors as rules see them: under which name, of which type, and quantized ones as the numbers they stand for.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <shardwise/catalog.hpp>

#include "mapping/expression.hpp"
#include "mapping/type_rule.hpp"

namespace shardwise {

/// What is to be made of quantized tensors, and in which type their numbers are held if none was asked for.
struct QuantizedOptions {
    bool dequantizes = false;
    std::optional<DType> model_type;  ///< as config.json has it
    std::optional<BlockSize> block;   ///< the same; of the codes that have a scale a block
};

/// The leaves of expressions. Where quantized tensors are dequantized, a tensor of codes and its tensor of scales are
/// one leaf. These belong together, by name:
/// - X of an 8-bit floating-point type, or of packed F4 held as I8, with X_scale_inv; the former also with X_scale, and
///   M.weight with M.scale;
/// - X_blocks (..., N, G, 16) of U8 with X_scales (..., N, G) of U8: MXFP4, seen as X of shape (..., 32 G, N).
/// Scales of activations beside such a tensor are left out.
class Leaves {
   public:
    static constexpr std::uint32_t kNoTensor = ~std::uint32_t{0};

    /// @param catalog and @p keep must outlive the leaves.
    /// @throws Error input if numbers are to be held in 8 bits.
    Leaves(Catalog const& catalog, KeepInFp32 const& keep, std::optional<DType> wanted,
           QuantizedOptions const& options);

    /// The name that rules see.
    std::string_view name_of(std::uint32_t tensor) const;

    /// True for a tensor that is taken in by another one.
    bool is_taken_in(std::uint32_t tensor) const { return taken_in_.contains(tensor); }

    /// @param parameter the one that is made of it, by whose name its type is chosen.
    /// @throws Error input if scales do not fit codes.
    Expression leaf(std::uint32_t tensor, std::string const& parameter) const;

    /// Where quantized tensors are kept: the scales of a stored tensor of codes, and the codes of one of scales. MXFP4
    /// does not count, whose blocks and scales lie side by side under names of their own.
    std::optional<std::uint32_t> kept_scales(std::uint32_t codes) const;
    std::optional<std::uint32_t> kept_codes(std::uint32_t scales) const;

    /// As the options state it.
    std::optional<BlockSize> const& block() const noexcept { return block_; }

   private:
    struct Codes {
        std::uint32_t scales = 0;  ///< index of the tensor
        std::string_view name;     ///< that rules see; lies in the catalog
        DType dtype = DType::f8_e4m3;
        Shape shape;
        bool is_turned = false;  ///< the last two dimensions are swapped
    };

    void note_kept();
    std::optional<Codes> find_codes(TensorRecord const& tensor) const;
    std::optional<std::uint32_t> find_scales(std::string_view start, std::string_view ending) const;
    DType type_of_numbers(Codes const& codes, std::string const& parameter) const;

    Catalog const& catalog_;
    TypeRule types_;
    std::optional<DType> model_type_;
    std::optional<BlockSize> block_;
    std::map<std::uint32_t, Codes> codes_;
    std::set<std::uint32_t> taken_in_;
    std::vector<std::uint32_t> kept_scales_;  ///< by tensor; kNoTensor where it has none
    std::vector<std::uint32_t> kept_codes_;   ///< the same
};

}  // namespace shardwise
