/// @file
/// The operations of a converter, applied to the tensors its sources collected.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "mapping/expression.hpp"

namespace shardwise {

/// Split along `dim` into pieces of ceil(n / pieces), one for each target. With a `count`, an expression over
/// config.json, there are that many and the rule's one target has a `*` for their numbers.
struct Chunk {
    std::size_t dim = 0;
    std::string count = {};
};

/// Split along `dim` into pieces of stated sizes (expressions over config.json), one for each target.
struct Split {
    std::size_t dim = 0;
    std::vector<std::string> sizes;
};

/// Join along `dim`, in the order of the rule's sources.
struct Concatenate {
    std::size_t dim = 0;
    std::string count = {};  ///< how many tensors there must be of each source; see MergeModulelist
};

/// Stack each source's tensors along a new `dim`, in the order of their numbers.
struct MergeModulelist {
    std::size_t dim = 0;
    std::string count = {};  ///< how many there must be; not checked if config.json does not say
};

/// Take `dim` apart into one tensor an index; `*` in a key becomes the index.
struct SplitModulelist {
    std::size_t dim = 0;
};

/// Swap two dimensions. With `unless_shape`, expressions over config.json, a tensor that has this shape already passes
/// as it is, and any other must have it afterwards: for checkpoints that exist in both layouts. The reference's
/// check_dims compares with the model's parameter, whose shape this states. A square is never swapped.
struct Transpose {
    std::size_t dim0 = 0;
    std::size_t dim1 = 1;
    std::vector<std::string> unless_shape = {};
};

/// Pairs of neighbours to two halves along `dim`; see interleave_of.
struct Interleave {
    std::size_t dim = 0;
    bool inverse = false;
};

/// Interleave of the rows of each attention head. Query heads, unless the key contains one of `kv_names`.
struct PermuteForRope {
    std::string heads = "num_attention_heads";
    std::string kv_heads = "num_key_value_heads";
    std::vector<std::string> names;     ///< only keys that contain one of these; all keys if empty
    std::vector<std::string> kv_names;  ///< keys whose rows are key/value heads
    bool inverse = false;
};

/// Experts of several kinds in one list: each source's list falls into as many groups as there are targets,
/// ceil(n / targets) long; target k is group k of every source, stacked along a new `stack_dim`, joined along
/// `concat_dim` of the result. Takes several sources to several targets.
struct ErnieFuseAndSplitTextVisionExperts {
    std::size_t stack_dim = 0;
    std::size_t concat_dim = 1;
};

/// The way back: every source is cut along `concat_dim` into one part for each target, and taken apart along
/// `stack_dim`; `*` in a target becomes the number, which runs on over the sources.
struct ErnieSplitAndDecoupleTextVisionExperts {
    std::size_t stack_dim = 0;
    std::size_t concat_dim = 1;
};

/// A convolution over whole patches as the matrix it is: (out, channels, t, h, w) to (out, channels * t * h * w), and
/// back. What has two, respectively five, dimensions passes as it is.
struct Conv3dToLinear {};
struct LinearToConv3d {
    std::string in_channels;               ///< expression over config.json
    std::vector<std::string> kernel_size;  ///< three expressions: t, h, w
};

using Operation = std::variant<Chunk, Split, Concatenate, MergeModulelist, SplitModulelist, Transpose, Interleave,
                               PermuteForRope, ErnieFuseAndSplitTextVisionExperts,
                               ErnieSplitAndDecoupleTextVisionExperts, Conv3dToLinear, LinearToConv3d>;

/// True if a rule with this operation may have several sources and several targets.
bool supports_many_to_many(Operation const& operation) noexcept;

/// What one source or target of a rule holds while its operations run.
struct Bucket {
    std::string key;  ///< source text at first, target text in the end
    std::vector<Expression> tensors;
    bool is_list = true;  ///< still one tensor a match, as collected
};

/// Value of an expression over the sizes of config.json.
using SizeLookup = std::function<std::int64_t(std::string const&)>;

/// Runs @p operations over @p buckets (in the order of the rule's sources) and returns one bucket a target.
/// Keys of the result are target texts with `*` replaced by indices.
/// @throws Error input naming the operation when it does not fit what it is given.
std::vector<Bucket> apply_operations(std::span<Operation const> operations, std::vector<Bucket> buckets,
                                     std::span<std::string const> targets, SizeLookup const& size_of);

}  // namespace shardwise
