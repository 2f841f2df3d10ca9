/// @file
/// Tensor-parallel plans: which style a parameter has, and the placement that follows from it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <shardwise/placement.hpp>

#include "mapping/operation.hpp"

namespace shardwise {

/// How a parameter is cut, before its shape is known. The style names of configurations map onto these.
enum class Cut : std::uint8_t {
    none,            ///< every rank holds all of it
    columns,         ///< output rows of a weight (out, in): dimension rank - 2, or the only one
    rows,            ///< last dimension; a bias is held whole
    first,           ///< dimension 0
    second,          ///< dimension 1
    packed_columns,  ///< as columns, in two equal blocks (gate and up); a 1-d tensor is cut plainly
    packed_rows,     ///< last dimension in two equal blocks; a 1-d tensor is held whole
    experts,         ///< whole experts, by dimension 0
    packed,          ///< blocks and dimension stated in the rule
    shard,           ///< dimension stated in the rule
};

/// The cut of a style name ("colwise", "grouped_gemm", ...).
/// @throws Error input naming the nearest known style.
Cut cut_of_style(std::string const& style);

/// Whether a plan with that style among its own rules deals out experts: all of its own rules then cut among the ep
/// ranks ("grouped_gemm", "ep_dispatch_experts").
bool is_expert_style(std::string_view style) noexcept;

/// Which count of heads a range of rows is made of.
enum class Heads : std::uint8_t { none, query, key_value };

/// One rule of a plan.
struct PlacementRule {
    struct Block {
        std::string size;  ///< expression over config.json
        Heads heads = Heads::none;
    };

    Cut cut = Cut::none;
    std::uint32_t dim = 0;       ///< packed and shard
    std::vector<Block> blocks;   ///< packed
    MeshAxis axis = MeshAxis::tp;  ///< tp or ep
    std::size_t component = 0;   ///< index into ArchitectureData::components: whose sizes and heads are meant
    bool is_implicit = false;    ///< stands in no file
};

/// The embedding, which is cut with the layers even where a plan does not name it.
inline constexpr std::string_view kEmbeddingModule = "embed_tokens";

/// Rules of one plan. Names have `*` for every number: "layers.*.mlp.up_proj".
struct ParallelPlan {
    std::string extends;                        ///< plan whose rules hold where this one has none
    std::map<std::string, PlacementRule> base;  ///< names inside the base model
    std::map<std::string, PlacementRule> head;  ///< full names, outside the base model
};

/// What to do when there are more ranks than key/value heads.
enum class KvHeads : std::uint8_t {
    cut,        ///< cut by rows like anything else
    replicate,  ///< groups of ranks hold the same whole head
};

struct PlacementContext {
    Mesh mesh;
    KvHeads kv_heads = KvHeads::cut;
    Heads heads = Heads::none;     ///< what the cut dimension of this parameter is made of
    SizeLookup const& size_of;
};

/// Placement of parameter @p name (only its last segment is looked at) of shape @p shape under @p rule: the rule's cut
/// among the tp or ep ranks, then dimension 0 of what that leaves among the fsdp or efsdp ranks. Scalars are held
/// whole.
/// @throws Error input: a dimension the shape lacks, blocks that do not add up, heads and ranks of which neither
/// divides
///         the other.
Placement place(PlacementRule const& rule, std::string_view name, Shape const& shape, PlacementContext const& context);

/// @p name with every number segment replaced by `*`. Example: "layers.0.mlp.experts.12.w1" ->
/// "layers.*.mlp.experts.*.w1".
std::string generalize(std::string_view name);

/// The rule for a parameter: by its own generalised name, else by that of the module it belongs to. Null if neither has
/// one.
PlacementRule const* find_rule(std::map<std::string, PlacementRule> const& rules, std::string_view name);

}  // namespace shardwise
