#include "report/plan_report.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "report/differences.hpp"
#include "util/units.hpp"

namespace shardwise {
namespace {

using Json = nlohmann::ordered_json;

Json totals_json(Plan const& plan) {
    auto const& totals = plan.totals;
    return {
        {"rank", plan.rank},
        {"needed_bytes", totals.needed_bytes},
        {"read_bytes", totals.read_bytes},
        {"over_read_bytes", totals.over_read_bytes},
        {"requests", totals.requests},
        {"received_bytes", totals.received_bytes},
        {"messages", totals.messages},
        {"staging_bytes", totals.staging_bytes},
        {"store_bytes", totals.store_bytes},
    };
}

Json range_json(FileRange const& range) {
    return {{"file", range.file}, {"begin", range.begin}, {"bytes", range.size_bytes}};
}

Json block_json(CopyBlock const& block) {
    Json json = {{"source", block.source}, {"target", block.target}, {"run_bytes", block.run_bytes}};
    if (block.tensor != kElsewhere) { json["tensor"] = block.tensor; }
    for (auto const& loop : block.loops) {
        json["loops"].push_back(
            {{"count", loop.count}, {"source_stride", loop.source_stride}, {"target_stride", loop.target_stride}});
    }
    auto const& cast = block.cast;
    if (!cast.is_move()) {
        json["cast"] = {{"from", to_string(cast.from)}, {"to", to_string(cast.to)}, {"target_step", cast.target_step}};
    }
    if (cast.scaling != kUnscaled) {
        json["cast"]["scaling"] = cast.scaling;
        json["cast"]["first_element"] = cast.first_element;
    }
    return json;
}

Json blocks_json(std::vector<CopyBlock> const& blocks, BlockRange range) {
    Json json = Json::array();
    for (auto i = range.first; i < range.first + range.count; ++i) { json.push_back(block_json(blocks[i])); }
    return json;
}

Json deliveries_json(std::vector<Delivery> const& deliveries, std::vector<CopyBlock> const& blocks) {
    Json json = Json::array();
    for (auto const& delivery : deliveries) {
        json.push_back(
            {{"peer", delivery.peer}, {"bytes", delivery.bytes}, {"blocks", blocks_json(blocks, delivery.blocks)}});
    }
    return json;
}

Json tensor_json(PlannedTensor const& tensor) {
    return {
        {"name", tensor.name},
        {"dtype", to_string(tensor.dtype)},
        {"shape", std::vector<std::int64_t>(tensor.global_shape.begin(), tensor.global_shape.end())},
        {"local_shape", std::vector<std::int64_t>(tensor.local_shape.begin(), tensor.local_shape.end())},
        {"placement", to_string(tensor.placement)},
        {"store_offset", tensor.store_offset},
    };
}

void add_parts(Json& json, Plan const& plan) {
    for (auto const& tensor : plan.tensors) { json["tensors"].push_back(tensor_json(tensor)); }
    for (auto const& scaling : plan.scalings) {
        auto entry = range_json(scaling.range);
        entry["dtype"] = to_string(scaling.dtype);
        entry["first_scale"] = scaling.first_scale;
        entry["block"] = {scaling.grid.block_rows, scaling.grid.block_columns};
        json["scalings"].push_back(std::move(entry));
    }
    json["direct"] = Json::array();
    for (auto const& direct : plan.direct) {
        auto read = range_json(direct.range);
        read["blocks"] = blocks_json(plan.direct_blocks, direct.blocks);
        json["direct"].push_back(std::move(read));
    }
    json["waves"] = Json::array();
    for (auto const& wave : plan.waves) {
        Json entry = {{"reads", Json::array()}};
        for (auto const& read : wave.reads) {
            auto staged = range_json(read.range);
            staged["slot_offset"] = read.slot_offset;
            entry["reads"].push_back(std::move(staged));
        }
        entry["receives"] = deliveries_json(wave.receives, wave.blocks);
        entry["sends"] = deliveries_json(wave.sends, wave.blocks);
        if (wave.is_shared) { entry["broadcast_bytes"] = wave.stripe_bytes; }
        json["waves"].push_back(std::move(entry));
    }
}

/// Totals of a catalog by element type, greatest first.
std::vector<std::pair<DType, std::uint64_t>> bytes_by_type(Catalog const& catalog) {
    std::vector<std::pair<DType, std::uint64_t>> sums;
    for (int i = 0; i < kDTypeCount; ++i) { sums.emplace_back(static_cast<DType>(i), 0); }
    for (auto const& tensor : catalog.tensors()) {
        sums[static_cast<std::size_t>(tensor.dtype)].second += tensor.size_bytes;
    }
    std::erase_if(sums, [](auto const& sum) { return sum.second == 0; });
    std::stable_sort(sums.begin(), sums.end(), [](auto const& a, auto const& b) { return a.second > b.second; });
    return sums;
}

}  // namespace

std::string plan_table(std::span<Plan const> plans) {
    auto const& first = plans.front();
    auto const& strategy = first.strategy_bytes;
    auto const once = strategy.direct + strategy.cooperative + strategy.shared;
    std::uint64_t read = 0;
    for (auto const& plan : plans) { read += plan.totals.read_bytes; }
    auto text =
        fmt::format("architecture {}, plan {}, {}: {} tensors; digest {}\n", first.architecture, first.plan_name,
                    to_string(first.mesh), first.tensors.size() + first.elsewhere.size(), first.digest);
    text += fmt::format("  needed once: {}: direct {}, cooperative {}, shared {}; {} wave(s)\n", format_bytes(once),
                        format_bytes(strategy.direct), format_bytes(strategy.cooperative),
                        format_bytes(strategy.shared), first.waves.size());
    if (first.files_at_once > 1) {
        text += fmt::format("  {} files at once: {}\n", first.files_at_once, first.files_at_once_reason);
    }
    text += fmt::format("  {:>5}{:>12}{:>12}{:>12}{:>10}{:>12}{:>10}{:>12}\n", "rank", "store", "read", "over-read",
                        "requests", "received", "messages", "staging <=");
    for (auto const& plan : plans) {
        auto const& totals = plan.totals;
        text += fmt::format("  {:>5}{:>12}{:>12}{:>12}{:>10}{:>12}{:>10}{:>12}\n", plan.rank,
                            format_bytes(totals.store_bytes), format_bytes(totals.read_bytes),
                            format_bytes(totals.over_read_bytes), totals.requests, format_bytes(totals.received_bytes),
                            totals.messages, format_bytes(totals.staging_bytes));
    }
    if (static_cast<std::int64_t>(plans.size()) == first.mesh.world()) {
        text += fmt::format("  all ranks read {}, {:.3f} x the bytes needed once\n", format_bytes(read),
                            once == 0 ? 1.0 : static_cast<double>(read) / static_cast<double>(once));
    }
    for (auto const& warning : first.warnings) { text += fmt::format("  warning: {}\n", warning); }
    return text;
}

std::string plan_json(std::span<Plan const> plans, bool with_parts) {
    auto const& first = plans.front();
    Json json = {
        {"schema", "shardwise.plan/1"},
        {"world", first.mesh.world()},
        {"pp", first.mesh.pp},
        {"dp", first.mesh.dp},
        {"fsdp", first.mesh.fsdp},
        {"tp", first.mesh.tp},
        {"ep", first.mesh.expert_ranks()},
        {"arch", first.architecture},
        {"plan", first.plan_name},
        {"digest", first.digest},
        {"source_digest", first.source_digest},
        {"tensors", first.tensors.size() + first.elsewhere.size()},
        {"waves", first.waves.size()},
        {"files_at_once", {{"files", first.files_at_once}, {"reason", first.files_at_once_reason}}},
        {"strategy_bytes",
         {{"direct", first.strategy_bytes.direct},
          {"cooperative", first.strategy_bytes.cooperative},
          {"shared", first.strategy_bytes.shared}}},
        {"differences", differences_json(first.differences)},
        {"warnings", first.warnings},
    };
    for (auto const& file : first.files) { json["files"].push_back(file.path); }
    for (auto const& plan : plans) {
        auto rank = totals_json(plan);
        if (with_parts) { add_parts(rank, plan); }
        json["ranks"].push_back(std::move(rank));
    }
    return json.dump(1) + "\n";
}

std::string catalog_table(Catalog const& catalog) {
    auto text = fmt::format("{}: {} tensors, {} in {} file(s)\n", catalog.root(), catalog.tensors().size(),
                            format_bytes(catalog.tensor_bytes()), catalog.files().size());
    for (auto const& [dtype, bytes] : bytes_by_type(catalog)) {
        text += fmt::format("  {:<12}{:>12}\n", to_string(dtype), format_bytes(bytes));
    }
    for (std::size_t i = 0; i < catalog.files().size(); ++i) {
        auto const& file = catalog.files()[i];
        text += fmt::format("  file {}: {}, {}, data from byte {}\n", i, file.path, format_bytes(file.size_bytes),
                            file.data_begin);
    }
    std::size_t widest = 0;
    for (auto const& tensor : catalog.tensors()) { widest = std::max(widest, tensor.name.size()); }
    for (auto const& tensor : catalog.tensors()) {
        text += fmt::format("  {:<{}}  {:<8} {:<20} file {} at {}\n", tensor.name, widest, to_string(tensor.dtype),
                            to_string(tensor.shape), tensor.file, tensor.begin);
    }
    for (auto const& warning : catalog.warnings()) { text += fmt::format("  warning: {}\n", warning); }
    return text;
}

std::string catalog_json(Catalog const& catalog) {
    Json json = {{"schema", "shardwise.catalog/1"}, {"path", catalog.root()}, {"tensor_bytes", catalog.tensor_bytes()}};
    for (auto const& file : catalog.files()) {
        json["files"].push_back({{"path", file.path}, {"bytes", file.size_bytes}, {"data_begin", file.data_begin}});
    }
    for (auto const& tensor : catalog.tensors()) {
        json["tensors"][tensor.name] = {
            {"dtype", to_string(tensor.dtype)},
            {"shape", std::vector<std::int64_t>(tensor.shape.begin(), tensor.shape.end())},
            {"file", tensor.file},
            {"begin", tensor.begin},
            {"bytes", tensor.size_bytes},
        };
    }
    json["warnings"] = std::vector<std::string>(catalog.warnings().begin(), catalog.warnings().end());
    return json.dump(1) + "\n";
}

}  // namespace shardwise
