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

/// Split along `dim` into as many pieces of ceil(n / targets) as there are targets.
struct Chunk {
    std::size_t dim = 0;
};

/// Split along `dim` into pieces of stated sizes (expressions over config.json), one for each target.
struct Split {
    std::size_t dim = 0;
    std::vector<std::string> sizes;
};

/// Join along `dim`, in the order of the rule's sources.
struct Concatenate {
    std::size_t dim = 0;
    std::string count;  ///< how many tensors there must be of each source; see MergeModulelist
};

/// Stack each source's tensors along a new `dim`, in the order of their numbers.
struct MergeModulelist {
    std::size_t dim = 0;
    std::string count;  ///< how many there must be, an expression over config.json; not checked if that does not say
};

/// Take `dim` apart into one tensor an index; `*` in a key becomes the index.
struct SplitModulelist {
    std::size_t dim = 0;
};

struct Transpose {
    std::size_t dim0 = 0;
    std::size_t dim1 = 1;
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

using Operation =
    std::variant<Chunk, Split, Concatenate, MergeModulelist, SplitModulelist, Transpose, Interleave, PermuteForRope>;

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
