#include "plan/planner.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <shardwise/error.hpp>
#include <shardwise/plan.hpp>

#include "mapping/parameters.hpp"
#include "plan/cached_cost.hpp"
#include "plan/cost.hpp"
#include "plan/demand.hpp"
#include "plan/direct_reads.hpp"
#include "plan/mapping_options.hpp"
#include "plan/needed_blocks.hpp"
#include "plan/parameter_digest.hpp"
#include "plan/read_order.hpp"
#include "plan/scalings.hpp"
#include "plan/staging_budget.hpp"
#include "plan/waves.hpp"
#include "util/checked.hpp"
#include "util/digest.hpp"
#include "util/parallel.hpp"
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

/// Adds every tensor to those of this rank or to those of other stages.
/// @return index into Plan::tensors by place in the demand; kElsewhere for those of other stages.
std::vector<std::uint32_t> add_tensors(Plan& plan, Demand const& demand) {
    std::vector<std::uint32_t> numbers;
    for (std::size_t i = 0; i < demand.parameters().size(); ++i) {
        auto const& parameter = demand.parameters()[i];
        PlannedTensor tensor;
        tensor.name = parameter.name;
        tensor.priority = demand.priority(i);
        tensor.aliases = parameter.aliases;
        tensor.dtype = parameter.value.dtype;
        tensor.global_shape = parameter.value.shape;
        tensor.placement = parameter.placement;
        tensor.global_bytes = bytes_of(tensor.global_shape, tensor.dtype, tensor.name);
        if (!is_held(tensor.placement, plan.mesh, plan.rank)) {
            numbers.push_back(kElsewhere);
            plan.elsewhere.push_back(std::move(tensor));
            continue;
        }
        tensor.local_shape = local_shape(parameter.placement, parameter.value.shape, plan.mesh, plan.rank);
        tensor.size_bytes = bytes_of(tensor.local_shape, tensor.dtype, tensor.name);
        tensor.store_offset = plan.store_bytes;
        plan.store_bytes = align_up(plan.store_bytes + tensor.size_bytes, kStoreAlignment);
        numbers.push_back(static_cast<std::uint32_t>(plan.tensors.size()));
        plan.tensors.push_back(std::move(tensor));
    }
    return numbers;
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
        auto const blocks = plan.blocks_of(direct);
        auto const runs = scattered(blocks);
        auto const read = direct.is_scattered ? runs.read_bytes : direct.range.size_bytes;
        totals.needed_bytes += runs.used_bytes;
        totals.read_bytes += read;
        totals.over_read_bytes += read - runs.used_bytes;
        totals.requests += direct.is_scattered ? runs.calls : 1;
    }
    std::uint64_t message_bytes = 0;
    for (auto const& wave : plan.waves) {
        totals.requests += wave.reads.size();
        for (auto const& read : wave.reads) { totals.read_bytes += read.range.size_bytes; }
        std::uint64_t in_wave = 0;
        for (auto const& receive : wave.receives) {
            in_wave += receive.wire_bytes;
            totals.needed_bytes += receive.bytes;
            if (receive.peer == plan.rank) { continue; }
            totals.received_bytes += receive.bytes;
            ++totals.messages;
        }
        for (auto const& send : wave.sends) { in_wave += send.wire_bytes; }
        in_wave += wave.stripe_bytes;
        message_bytes = std::max(message_bytes, in_wave);
    }
    message_bytes *= plan.exchanges_at_once;
    auto const slots = plan.slot_count * plan.slot_bytes;
    auto const direct_bytes = plan.direct.empty() ? 0 : plan.direct_bytes;
    if (plan.device == Device::host) {
        auto const outboxes = slots * plan.seats;  // of a node together
        totals.staging_bytes = slots + outboxes + message_bytes + direct_bytes;
    } else {
        auto const ring = plan.direct_bytes + plan.direct_buffers * kSlotAlignment;
        totals.staging_bytes = ring + message_bytes + 2 * plan.descriptor_bytes;
        totals.device_staging_bytes = slots + message_bytes + direct_bytes + 2 * plan.descriptor_bytes;
    }
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

/// What every rank must agree on, whatever its own part is.
std::string digest_of(Plan const& plan, Demand const& demand, std::span<Strategy const> strategies,
                      std::span<ReadGroup const> groups) {
    Digest digest;
    auto const& mesh = plan.mesh;
    for (auto const size : {mesh.pp, mesh.dp, mesh.fsdp, mesh.tp, mesh.expert_ranks()}) { digest.add(size); }
    digest.add(plan.device);
    digest.add(plan.plan_name);
    digest.add(plan.source_digest);
    digest.add(plan.request_bytes);
    digest.add(plan.slot_count);
    digest.add(plan.exchanges_at_once);
    for (auto const& parameter : demand.parameters()) { add_parameter(digest, parameter); }
    for (std::size_t i = 0; i < strategies.size(); ++i) {
        digest.add(demand.uses()[i].source);
        digest.add(strategies[i]);
    }
    for (auto const& group : groups) {
        digest.add(group.first_wave);
        for (auto const& wave : group.shapes) {
            digest.add(wave.line_bytes);
            digest.add(wave.stripe_bytes);
        }
    }
    return digest.hex();
}

}  // namespace

char const* to_string(Device device) noexcept { return device == Device::host ? "host" : "cuda"; }

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
    mapping.mesh = options.mesh;
    mapping.plan = options.plan;
    mapping.kv_heads = options.replicate_kv_heads ? KvHeads::replicate : KvHeads::cut;
    mapping.strict_divisible = options.strict_divisible;
    mapping.expected = options.expected;
    mapping.strict = options.strict;
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

namespace {

/// The way each stored tensor goes: read directly, or in the waves of the stages that need it.
struct Reading {
    std::vector<Strategy> strategies;  ///< by use
    std::vector<ReadGroup> groups;
};

std::vector<Strategy> choose_strategies(Plan& plan, Catalog const& catalog, Demand const& demand,
                                        PlanOptions const& options) {
    std::vector<Strategy> strategies;
    auto const stage_ranks = plan.mesh.world() / plan.mesh.pp;
    for (auto const& use : demand.uses()) {
        auto const& stored = catalog.tensors()[use.source];
        strategies.push_back(
            choose_strategy(use,
                            {.choice = options.strategy,
                             .ranks = static_cast<std::int64_t>(demand.stages(use).size()) * stage_ranks,
                             .is_cached = plan.facts[stored.file].is_cached(),
                             .cuts_units = cuts_units(use, stored),
                             .device = plan.device},
                            options.profile));
        count_strategy(plan.strategy_bytes, strategies.back(), use.needed.size());
    }
    return strategies;
}

/// Waves of what all ranks of the job need whole are broadcast. Small tensors among cut ones do not go there: taken out
/// of the stretch that they lie in, they would have to be read for themselves.
std::vector<bool> choose_broadcasts(Plan const& plan, Demand const& demand, std::span<Strategy const> strategies) {
    constexpr std::uint64_t kLeastBroadcast = 1ULL << 20U;
    bool const is_nothing_cut = std::ranges::find(strategies, Strategy::cooperative) == strategies.end();
    std::vector<bool> broadcasts;
    for (std::size_t i = 0; i < strategies.size(); ++i) {
        auto const& use = demand.uses()[i];
        bool const pays = is_nothing_cut || use.needed.size() >= kLeastBroadcast;
        broadcasts.push_back(strategies[i] == Strategy::shared && pays &&
                             static_cast<std::int64_t>(demand.stages(use).size()) == plan.mesh.pp);
    }
    return broadcasts;
}

Reading choose_reading(Plan& plan, Catalog const& catalog, Demand const& demand, PlanOptions const& options,
                       StagingBudget const& budget) {
    Reading reading;
    reading.strategies = choose_strategies(plan, catalog, demand, options);
    auto const broadcasts = choose_broadcasts(plan, demand, reading.strategies);
    std::map<std::pair<Stages, bool>, WaveBuilder> builders;  // by stages, broadcasts for themselves
    for (std::uint32_t i = 0; i < demand.uses().size(); ++i) {
        if (reading.strategies[i] == Strategy::direct) { continue; }
        auto const& use = demand.uses()[i];
        auto const& stored = catalog.tensors()[use.source];
        auto const stages = demand.stages(use);
        // Stripes are as long in every group, or outboxes would take more memory where fewer ranks share a line.
        auto const stripes = static_cast<std::int64_t>(stages.size()) * budget.stage_stripes;
        WaveLimits const limits = {.stripes = stripes, .stripe_bytes = budget.stripe_bytes};
        builders.try_emplace({stages, broadcasts[i]}, limits).first->second.add(i, stored, use.needed);
    }
    for (auto& [key, builder] : builders) {
        reading.groups.push_back({key.first, builder.finish(), key.second, budget.stage_stripes, 0});
    }
    // What several stages need comes first; after that each goes on by itself.
    std::stable_sort(reading.groups.begin(), reading.groups.end(),
                     [](ReadGroup const& a, ReadGroup const& b) { return a.stages.size() > b.stages.size(); });
    return reading;
}

/// Of short reads more fit the same memory: while a rank copies, storage must not run out of work.
void fit_buffers(Plan& plan) {
    constexpr std::uint32_t kMostBuffers = 64;
    plan.direct_buffers = kMostBuffers;
    plan.direct_buffer_bytes = kSlotAlignment;
    for (auto const& read : plan.direct) {
        plan.direct_buffer_bytes = std::max(plan.direct_buffer_bytes, room_bytes(read.range));
    }
    plan.direct_bytes = std::min(plan.direct_bytes, kMostBuffers * plan.direct_buffer_bytes);
}

/// Parts of the direct uses for threads, each of which begins with another file than the one before ends with.
std::vector<IndexRange> parts_of_direct(std::span<std::uint32_t const> direct, Demand const& demand,
                                        Catalog const& catalog) {
    constexpr std::size_t kLeastUses = 4096;
    auto const file_of = [&](std::size_t i) { return catalog.tensors()[demand.uses()[direct[i]].source].file; };
    auto parts = parts_for_threads(direct.size(), kLeastUses);
    for (std::size_t part = 1; part < parts.size(); ++part) {
        auto begin = std::max(parts[part].begin, parts[part - 1].begin);
        while (begin > 0 && begin < direct.size() && file_of(begin) == file_of(begin - 1)) { ++begin; }
        parts[part].begin = parts[part - 1].end = begin;
    }
    return parts;
}

void add_direct_reads(Plan& plan, Catalog const& catalog, Demand const& demand, Reading const& reading,
                      std::span<std::uint32_t const> numbers, ReadLimits const& limits) {
    std::vector<std::uint32_t> uses;
    for (std::uint32_t i = 0; i < demand.uses().size(); ++i) {
        if (reading.strategies[i] == Strategy::direct) { uses.push_back(i); }
    }
    bool const reads_into_place = plan.device == Device::host;
    auto const facts = reads_into_place ? std::span<FileFacts const>(plan.facts) : std::span<FileFacts const>();
    auto const parts = parts_of_direct(uses, demand, catalog);
    std::vector<DirectReads> direct(std::max<std::size_t>(1, parts.size()), DirectReads(limits, facts));
    for_each_in_parallel(parts.size(), parts.size(), [&](std::size_t part) {
        NeededBlocks needed(demand, numbers);
        direct[part].blocks.reserve(part == 0 ? uses.size() : parts[part].size());
        for (auto i = parts[part].begin; i < parts[part].end; ++i) {
            auto const& use = demand.uses()[uses[i]];
            direct[part].add(catalog.tensors()[use.source], needed.of(use, plan.rank));
        }
    });
    for (std::size_t part = 1; part < direct.size(); ++part) { direct.front().append(std::move(direct[part])); }
    plan.direct = std::move(direct.front().reads);
    plan.direct_blocks = std::move(direct.front().blocks);
    if (plan.device == Device::host) { fit_buffers(plan); }
}

}  // namespace

Plan plan_parameters(Catalog const& catalog, Parameters parameters, PlanOptions const& options, std::int64_t rank,
                     std::span<FileFacts const> facts) {
    check(options.mesh);
    Plan plan;
    plan.mesh = options.mesh;
    plan.rank = rank;
    plan.device = options.device;
    plan.plan_name = options.plan;
    plan.warnings = std::move(parameters.warnings);
    plan.differences = std::move(parameters.differences);
    plan.files.assign(catalog.files().begin(), catalog.files().end());
    plan.facts.assign(facts.begin(), facts.end());
    plan.facts.resize(plan.files.size());

    auto const budget = divide_staging(options.staging_bytes, options.mesh, options.device);
    ReadLimits const limits{.request_bytes = budget.request_bytes};
    auto files_at_once = choose_files_at_once(options.files_at_once, options.profile, plan.facts);
    plan.files_at_once = files_at_once.count;
    plan.files_at_once_reason = std::move(files_at_once.reason);
    Demand const demand(catalog, std::move(parameters),
                        {options.mesh, options.priority, files_at_once.count, limits.max_gap});
    auto const numbers = add_tensors(plan, demand);

    plan.request_bytes = budget.request_bytes;
    plan.direct_buffers = budget.direct_buffers;
    plan.direct_buffer_bytes = budget.request_bytes;
    plan.direct_bytes = budget.direct_buffers * budget.request_bytes;
    plan.descriptor_bytes = budget.descriptor_bytes;
    plan.exchanges_at_once = budget.exchanges_at_once;

    auto reading = choose_reading(plan, catalog, demand, options, budget);
    auto const waves = schedule(reading.groups);
    plan.slot_count = waves == 0 ? 0 : budget.slot_count;
    add_direct_reads(plan, catalog, demand, reading, numbers, limits);
    assign_waves(plan, reading.groups, waves, demand, numbers);
    plan.source_digest = digest_of(catalog);
    plan.digest = digest_of(plan, demand, reading.strategies, reading.groups);
    fill_totals(plan);
    add_scalings(plan, catalog, demand.parameters());
    return plan;
}

}  // namespace shardwise
