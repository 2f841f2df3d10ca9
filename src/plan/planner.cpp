#include <algorithm>

#include <fmt/format.h>

#include <shardwise/error.hpp>
#include <shardwise/plan.hpp>

#include "mapping/parameters.hpp"
#include "plan/cost.hpp"
#include "plan/demand.hpp"
#include "plan/direct_reads.hpp"
#include "plan/mapping_options.hpp"
#include "plan/planner.hpp"
#include "plan/scalings.hpp"
#include "plan/staging_budget.hpp"
#include "plan/waves.hpp"
#include "util/checked.hpp"
#include "util/digest.hpp"
#include "util/units.hpp"

namespace shardwise {
namespace {

std::uint64_t bytes_of(Shape const& shape, DType dtype, std::string const& name) {
    auto const total_bits = static_cast<std::uint64_t>(shape.num_elements()) * static_cast<std::uint64_t>(bits(dtype));
    if (total_bits % 8 != 0) {
        throw Error(Errc::input, fmt::format("{}: a part of shape {} of a packed {} tensor is no whole number of bytes",
                                             name, to_string(shape), to_string(dtype)));
    }
    return total_bits / 8;
}

void add_tensors(Plan& plan, Demand const& demand) {
    auto const tp_rank = plan.mesh.tp_rank(plan.rank);
    for (auto const& parameter : demand.parameters()) {
        PlannedTensor tensor;
        tensor.name = parameter.name;
        tensor.aliases = parameter.aliases;
        tensor.dtype = parameter.value.dtype;
        tensor.global_shape = parameter.value.shape;
        tensor.local_shape = local_shape(parameter.placement, parameter.value.shape, tp_rank);
        tensor.placement = parameter.placement;
        tensor.size_bytes = bytes_of(tensor.local_shape, tensor.dtype, tensor.name);
        tensor.global_bytes = bytes_of(tensor.global_shape, tensor.dtype, tensor.name);
        tensor.store_offset = plan.store_bytes;
        plan.store_bytes = align_up(plan.store_bytes + tensor.size_bytes, kStoreAlignment);
        plan.tensors.push_back(std::move(tensor));
    }
}

void count_strategy(StrategyBytes& sums, Strategy strategy, std::uint64_t bytes) {
    switch (strategy) {
        case Strategy::direct: sums.direct += bytes; break;
        case Strategy::cooperative: sums.cooperative += bytes; break;
        case Strategy::shared: sums.shared += bytes; break;
    }
}

void fill_totals(Plan& plan) {
    auto& totals = plan.totals;
    for (auto const& direct : plan.direct) {
        auto const blocks = std::span(plan.direct_blocks).subspan(direct.blocks.first, direct.blocks.count);
        std::uint64_t used = 0;
        std::uint64_t runs = 0;
        for (auto const& block : blocks) {
            used += block.bytes();
            runs += block.runs();
        }
        totals.needed_bytes += used;
        auto const read = direct.is_by_runs ? used : direct.range.size_bytes;
        totals.read_bytes += read;
        totals.over_read_bytes += read - used;
        totals.requests += direct.is_by_runs ? runs : 1;
    }
    std::uint64_t message_bytes = 0;
    for (auto const& wave : plan.waves) {
        totals.requests += wave.reads.size();
        for (auto const& read : wave.reads) { totals.read_bytes += read.range.size_bytes; }
        std::uint64_t in_wave = 0;
        for (auto const& receive : wave.receives) {
            in_wave += receive.bytes;
            totals.needed_bytes += receive.bytes;
            if (receive.peer == plan.rank) { continue; }
            totals.received_bytes += receive.bytes;
            ++totals.messages;
        }
        for (auto const& send : wave.sends) { in_wave += send.bytes; }
        message_bytes = std::max(message_bytes, in_wave);
    }
    // Slots of this rank, outboxes of all ranks if they share one node.
    auto const slots = plan.slot_count * plan.slot_bytes * (1 + static_cast<std::uint64_t>(plan.mesh.world()));
    auto const buffers = plan.direct.empty() ? 0 : plan.direct_buffers * plan.request_bytes;
    totals.staging_bytes = slots + message_bytes + buffers;
    totals.store_bytes = plan.store_bytes;
}

std::string digest_of(Catalog const& catalog) {
    Digest digest;
    for (auto const& file : catalog.files()) {
        digest.add(file.size_bytes);
        digest.add(file.data_begin);
    }
    for (auto const& tensor : catalog.tensors()) {
        digest.add(tensor.name);
        digest.add(tensor.dtype);
        for (auto const extent : tensor.shape) { digest.add(extent); }
        digest.add(tensor.file);
        digest.add(tensor.begin);
    }
    return digest.hex();
}

/// Where the values come from counts, too: ranks with different rules may well agree on names and shapes.
void add_expression(Digest& digest, Expression const& expression) {
    digest.add(expression.kind);
    digest.add(expression.dtype);
    digest.add(expression.inverse);
    digest.add(expression.source);
    digest.add(expression.dim);
    digest.add(expression.dim1);
    digest.add(expression.begin);
    digest.add(expression.groups);
    digest.add(expression.shape.rank());
    for (auto const extent : expression.shape) { digest.add(extent); }
    digest.add(expression.inputs.size());
    for (auto const& input : expression.inputs) { add_expression(digest, input); }
}

/// What every rank must agree on, whatever its own part is.
std::string digest_of(Plan const& plan, Demand const& demand, std::span<Strategy const> strategies,
                      std::span<WaveShape const> waves) {
    Digest digest;
    digest.add(plan.mesh.dp);
    digest.add(plan.mesh.tp);
    digest.add(plan.plan_name);
    digest.add(plan.source_digest);
    digest.add(plan.request_bytes);
    digest.add(plan.slot_count);
    for (auto const& parameter : demand.parameters()) {
        digest.add(parameter.name);
        add_expression(digest, parameter.value);
        digest.add(to_string(parameter.placement));
        for (auto const& block : parameter.placement.blocks) { digest.add(block.repeat); }
    }
    for (std::size_t i = 0; i < strategies.size(); ++i) {
        digest.add(demand.uses()[i].source);
        digest.add(strategies[i]);
    }
    for (auto const& wave : waves) {
        digest.add(wave.line_bytes);
        digest.add(wave.stripe_bytes);
    }
    return digest.hex();
}

}  // namespace

char const* to_string(Strategy strategy) noexcept {
    switch (strategy) {
        case Strategy::direct: return "direct";
        case Strategy::cooperative: return "cooperative";
        case Strategy::shared: return "shared";
    }
    return "unknown";
}

MappingOptions mapping_options(PlanOptions const& options) {
    MappingOptions mapping;
    mapping.tp = options.mesh.tp;
    mapping.plan = options.plan;
    mapping.kv_heads = options.replicate_kv_heads ? KvHeads::replicate : KvHeads::cut;
    mapping.strict_divisible = options.strict_divisible;
    mapping.include = options.include;
    mapping.exclude = options.exclude;
    mapping.dtype = options.dtype;
    mapping.dequantizes = options.dequantizes;
    return mapping;
}

Plan make_plan(Catalog const& catalog, Architecture const& architecture, PlanOptions const& options, std::int64_t rank,
               std::span<FileFacts const> facts) {
    auto parameters = map_parameters(catalog, architecture, mapping_options(options));
    auto plan = plan_parameters(catalog, std::move(parameters), options, rank, facts);
    plan.architecture = architecture.family();
    return plan;
}

Plan plan_parameters(Catalog const& catalog, Parameters parameters, PlanOptions const& options, std::int64_t rank,
                     std::span<FileFacts const> facts) {
    Plan plan;
    plan.mesh = options.mesh;
    plan.rank = rank;
    plan.plan_name = options.plan;
    plan.source_digest = digest_of(catalog);
    plan.warnings = std::move(parameters.warnings);
    plan.files.assign(catalog.files().begin(), catalog.files().end());
    plan.facts.assign(facts.begin(), facts.end());
    plan.facts.resize(plan.files.size());

    auto const budget = divide_staging(options.staging_bytes, options.mesh.world());
    ReadLimits const limits{.request_bytes = budget.request_bytes};
    Demand demand(catalog, std::move(parameters), {options.mesh.tp, options.priority, limits.max_gap});
    add_tensors(plan, demand);

    DirectReads direct(limits);
    WaveBuilder builder({.world = options.mesh.world(), .wave_bytes = budget.wave_bytes});
    std::vector<Strategy> strategies;
    for (std::uint32_t i = 0; i < demand.uses().size(); ++i) {
        auto const& use = demand.uses()[i];
        auto const& stored = catalog.tensors()[use.source];
        strategies.push_back(
            choose_strategy(use, {options.strategy, options.mesh.world(), plan.facts[stored.file].is_cached(),
                                  cuts_units(use, stored)}));
        count_strategy(plan.strategy_bytes, strategies.back(), use.needed.size());
        if (strategies.back() == Strategy::direct) {
            direct.add(stored, demand.blocks_for(use, options.mesh.tp_rank(rank)));
        } else {
            builder.add(i, stored, use.needed);
        }
    }
    direct.finish(plan.facts);
    auto const waves = builder.finish();
    plan.direct = std::move(direct.reads);
    plan.direct_blocks = std::move(direct.blocks);
    plan.request_bytes = budget.request_bytes;
    plan.direct_buffers = budget.direct_buffers;
    plan.slot_count = waves.empty() ? 0 : budget.slot_count;
    assign_waves(plan, waves, demand, budget.request_bytes);
    plan.digest = digest_of(plan, demand, strategies, waves);
    fill_totals(plan);
    add_scalings(plan, catalog, demand.parameters());
    return plan;
}

}  // namespace shardwise
