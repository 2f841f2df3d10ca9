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

/// How a block made of heads is dealt out: plainly, or one whole head to each group of ranks.
Placement::Block deal_block(std::int64_t size, Heads heads, PlacementContext const& context) {
    Placement::Block block = {size, context.tp, 1};
    if (heads != Heads::key_value || context.kv_heads == KvHeads::cut) { return block; }
    auto const count = context.size_of("num_key_value_heads");
    if (count % context.tp == 0) { return block; }
    if (count < 1 || context.tp % count != 0 || size % count != 0) {
        refuse(fmt::format("--kv-heads replicate: {} key/value heads and --tp {}: neither divides the other", count,
                           context.tp));
    }
    block.parts = count;
    block.repeat = context.tp / count;
    return block;
}

Placement cut_plainly(Shape const& shape, std::size_t dim, PlacementContext const& context) {
    check_dim(shape, dim);
    return {Placement::Kind::shard, static_cast<std::uint32_t>(dim), {deal_block(shape[dim], context.heads, context)}};
}

/// Two equal blocks; the first takes the odd index, as in the reference.
Placement cut_in_two_blocks(Shape const& shape, std::size_t dim, PlacementContext const& context) {
    auto const first = ceil_div<std::int64_t>(shape[dim], 2);
    return {Placement::Kind::packed,
            static_cast<std::uint32_t>(dim),
            {{first, context.tp, 1}, {shape[dim] - first, context.tp, 1}}};
}

Placement cut_in_stated_blocks(PlacementRule const& rule, Shape const& shape, PlacementContext const& context) {
    check_dim(shape, rule.dim);
    Placement placement{Placement::Kind::packed, rule.dim, {}};
    std::vector<std::int64_t> sizes;
    for (auto const& block : rule.blocks) {
        sizes.push_back(context.size_of(block.size));
        placement.blocks.push_back(deal_block(sizes.back(), block.heads, context));
    }
    std::int64_t sum = 0;
    for (auto const size : sizes) { sum += size; }
    if (sum != shape[rule.dim] || std::any_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size < 0; })) {
        refuse(fmt::format("blocks [{}] do not make up dimension {} of shape {}", fmt::join(sizes, ", "), rule.dim,
                           to_string(shape)));
    }
    return placement;
}

Placement deal_experts(Shape const& shape, PlacementContext const& context) {
    check_dim(shape, 0);
    if (shape[0] % context.tp != 0) {
        refuse(fmt::format("{} experts cannot be dealt to {} ranks evenly", shape[0], context.tp));
    }
    return cut_along(shape, 0, context.tp, Placement::Kind::expert);
}

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

Placement place(PlacementRule const& rule, std::string_view name, Shape const& shape, PlacementContext const& context) {
    auto const rank = shape.rank();
    switch (rule.cut) {
        case Cut::none: return {};
        case Cut::columns: return cut_plainly(shape, rank >= 2 ? rank - 2 : 0, context);
        case Cut::rows: return last_segment(name) == "bias" ? Placement{} : cut_plainly(shape, rank - 1, context);
        case Cut::first: return cut_plainly(shape, 0, context);
        case Cut::second: return cut_plainly(shape, 1, context);
        case Cut::packed_columns:
            return rank >= 2 ? cut_in_two_blocks(shape, rank - 2, context) : cut_plainly(shape, 0, context);
        case Cut::packed_rows: return rank >= 2 ? cut_in_two_blocks(shape, rank - 1, context) : Placement{};
        case Cut::experts: return deal_experts(shape, context);
        case Cut::packed: return cut_in_stated_blocks(rule, shape, context);
        case Cut::shard: return cut_plainly(shape, rule.dim, context);
    }
    return {};
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
