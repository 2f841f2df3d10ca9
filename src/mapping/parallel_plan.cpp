#include "mapping/parallel_plan.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "util/checked.hpp"
#include "util/suggest.hpp"

namespace shardwise {
namespace {

struct Style {
    std::string_view name;
    Cut cut;
};

/// Every style of the reference; those with Cut::none differ only in communication.
constexpr std::array<Style, 20> kStyles = {{
    {"colwise", Cut::columns},
    {"colwise_gather_output", Cut::columns},
    {"colwise_rep", Cut::columns},
    {"rowwise", Cut::rows},
    {"rowwise_split_input", Cut::rows},
    {"rowwise_rep", Cut::rows},
    {"embedding_rowwise", Cut::first},
    {"embedding_colwise", Cut::second},
    {"packed_colwise", Cut::packed_columns},
    {"packed_rowwise", Cut::packed_rows},
    {"grouped_gemm", Cut::experts},
    {"replicate", Cut::none},
    {"sequence_parallel", Cut::none},
    {"replicated_with_grad_allreduce", Cut::none},
    {"mla_kv_a_proj", Cut::none},
    {"all_reduce", Cut::none},
    {"moe_tp_experts", Cut::none},
    {"moe_identity_expert", Cut::none},
    {"local_params", Cut::none},
    {"ep_dispatch_experts", Cut::none},
}};

[[noreturn]] void refuse(std::string text) { throw Error(Errc::input, std::move(text)); }

void check_dim(Shape const& shape, std::size_t dim) {
    if (dim >= shape.rank()) { refuse(fmt::format("cannot cut shape {} along dimension {}", to_string(shape), dim)); }
}

std::string_view last_segment(std::string_view name) { return name.substr(name.rfind('.') + 1); }

/// Makes the cut of one rule.
struct Cutter {
    PlacementContext const& context;
    MeshAxis axis;

    std::int64_t ranks() const { return context.mesh.size(axis); }

    /// How a block made of heads is dealt out: plainly, or one whole head to each group of ranks.
    Placement::Block deal_block(std::int64_t size, Heads heads) const {
        Placement::Block block = {size, ranks(), 1};
        if (heads != Heads::key_value || context.kv_heads == KvHeads::cut) { return block; }
        auto const count = context.size_of("num_key_value_heads");
        if (count % ranks() == 0) { return block; }
        if (count < 1 || ranks() % count != 0 || size % count != 0) {
            refuse(fmt::format("--kv-heads replicate: {} key/value heads and --{} {}: neither divides the other", count,
                               to_string(axis), ranks()));
        }
        block.parts = count;
        block.repeat = ranks() / count;
        return block;
    }

    Placement cut(Placement::Kind kind, std::size_t dim, std::vector<Placement::Block> blocks) const {
        return {.cuts = {{kind, static_cast<std::uint32_t>(dim), std::move(blocks), axis}}, .stages = {}};
    }

    Placement plainly(Shape const& shape, std::size_t dim) const {
        check_dim(shape, dim);
        return cut(Placement::Kind::shard, dim, {deal_block(shape[dim], context.heads)});
    }

    /// Two equal blocks; the first takes the odd index, as in the reference.
    Placement in_two_blocks(Shape const& shape, std::size_t dim) const {
        auto const first = ceil_div<std::int64_t>(shape[dim], 2);
        return cut(Placement::Kind::packed, dim, {{first, ranks(), 1}, {shape[dim] - first, ranks(), 1}});
    }

    Placement in_stated_blocks(PlacementRule const& rule, Shape const& shape) const {
        check_dim(shape, rule.dim);
        std::vector<Placement::Block> blocks;
        std::vector<std::int64_t> sizes;
        for (auto const& block : rule.blocks) {
            sizes.push_back(context.size_of(block.size));
            blocks.push_back(deal_block(sizes.back(), block.heads));
        }
        std::int64_t sum = 0;
        for (auto const size : sizes) { sum += size; }
        if (sum != shape[rule.dim] ||
            std::any_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size < 0; })) {
            refuse(fmt::format("blocks [{}] do not make up dimension {} of shape {}", fmt::join(sizes, ", "), rule.dim,
                               to_string(shape)));
        }
        return cut(Placement::Kind::packed, rule.dim, std::move(blocks));
    }

    Placement whole_experts(Shape const& shape) const {
        return cut(Placement::Kind::expert, 0, {{shape[0], ranks(), 1}});
    }

    Placement operator()(PlacementRule const& rule, std::string_view name, Shape const& shape) const {
        auto const rank = shape.rank();
        switch (rule.cut) {
            case Cut::none:
                return {};
            case Cut::columns:
                return plainly(shape, rank >= 2 ? rank - 2 : 0);
            case Cut::rows:
                return last_segment(name) == "bias" ? Placement{} : plainly(shape, rank - 1);
            case Cut::first:
                return plainly(shape, 0);
            case Cut::second:
                return plainly(shape, 1);
            case Cut::packed_columns:
                return rank >= 2 ? in_two_blocks(shape, rank - 2) : plainly(shape, 0);
            case Cut::packed_rows:
                return rank >= 2 ? in_two_blocks(shape, rank - 1) : Placement{};
            case Cut::experts:
                return whole_experts(shape);
            case Cut::packed:
                return in_stated_blocks(rule, shape);
            case Cut::shard:
                return plainly(shape, rule.dim);
        }
        return {};
    }
};

}  // namespace

Cut cut_of_style(std::string const& style) {
    auto const found = std::find_if(kStyles.begin(), kStyles.end(), [&](Style const& s) { return s.name == style; });
    if (found != kStyles.end()) { return found->cut; }
    std::vector<std::string> names;
    for (auto const& known : kStyles) { names.emplace_back(known.name); }
    auto const near = nearest(style, names);
    refuse(fmt::format("unknown style '{}'; {}", style,
                       near.empty() ? fmt::format("known are {}", fmt::join(names, ", "))
                                    : fmt::format("the nearest known one is '{}'", near)));
}

bool is_expert_style(std::string_view style) noexcept {
    return style == "grouped_gemm" || style == "ep_dispatch_experts";
}

Placement place(PlacementRule const& rule, std::string_view name, Shape const& shape, PlacementContext const& context) {
    if (shape.rank() == 0) { return {}; }
    // With as many ep as tp ranks the two views of the mesh are one, and the plain names do for both.
    bool const is_expert = rule.axis == MeshAxis::ep && context.mesh.expert_ranks() != context.mesh.tp;
    auto placement = Cutter{context, is_expert ? MeshAxis::ep : MeshAxis::tp}(rule, name, shape);
    auto const outer = is_expert ? MeshAxis::efsdp : MeshAxis::fsdp;
    if (context.mesh.size(outer) > 1) { placement.cuts.push_back({Placement::Kind::shard, 0, {}, outer}); }
    return placement;
}

std::string generalize(std::string_view name) {
    std::string result;
    while (!name.empty()) {
        auto const end = std::min(name.find('.'), name.size());
        auto const segment = name.substr(0, end);
        bool const is_number = !segment.empty() && std::all_of(segment.begin(), segment.end(),
                                                               [](unsigned char c) { return std::isdigit(c) != 0; });
        result += is_number ? "*" : segment;
        if (end < name.size()) { result += '.'; }
        name.remove_prefix(std::min(end + 1, name.size()));
    }
    return result;
}

PlacementRule const* find_rule(std::map<std::string, PlacementRule> const& rules, std::string_view name) {
    auto const general = generalize(name);
    if (auto const own = rules.find(general); own != rules.end()) { return &own->second; }
    auto const dot = general.rfind('.');
    if (dot == std::string::npos) { return nullptr; }
    auto const module = rules.find(general.substr(0, dot));
    return module != rules.end() ? &module->second : nullptr;
}

}  // namespace shardwise
