#include "sink/rank_files.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

#include "sink/safetensors_writer.hpp"

namespace shardwise {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::string_view kPrefix = "model-rank-";

std::string_view ending(RankFormat format) {
    switch (format) {
        case RankFormat::safetensors:
            return ".safetensors";
        case RankFormat::hdf5:
            return ".h5";
        case RankFormat::cuda_ipc:
            return ".cuda-ipc.json";
    }
    return {};
}

Json cut_json(Placement::AxisCut const& cut) {
    Json json = {{"kind", to_string(cut.kind)}, {"dim", cut.dim}};
    if (cut.axis != MeshAxis::tp) { json["axis"] = to_string(cut.axis); }
    for (auto const& block : cut.blocks) {
        json["blocks"].push_back({{"size", block.size}, {"parts", block.parts}, {"repeat", block.repeat}});
    }
    return json;
}

/// The first cut, with those that follow it under "then".
Json placement_json(Placement const& placement) {
    auto const& cuts = placement.cuts;
    Json json = cuts.empty() ? Json{{"kind", to_string(Placement::Kind::replicate)}} : cut_json(cuts.front());
    for (std::size_t i = 1; i < cuts.size(); ++i) { json["then"].push_back(cut_json(cuts[i])); }
    if (!placement.stages.empty()) { json["stages"] = placement.stages; }
    return json;
}

/// True for names of rank files of any world that the set just written does not hold.
bool is_surplus(std::string const& name, Plan const& plan, RankFormat format) {
    if (!name.starts_with(kPrefix)) { return false; }
    auto const rest = std::string_view(name).substr(kPrefix.size());
    std::int64_t rank = 0;
    auto const [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), rank);
    auto const tail = rest.substr(static_cast<std::size_t>(end - rest.data()));
    bool const is_rank_file =
        error == std::errc{} && tail.starts_with("-part-") &&
        std::ranges::any_of(kRankFormats, [&](RankFormat known) { return tail.ends_with(ending(known)); });
    return is_rank_file && (rank >= plan.mesh.world() || name != rank_file_name(rank, format));
}

}  // namespace

void remove_surplus_rank_files(std::string const& folder, Plan const& plan, RankFormat format) {
    for (auto const& entry : fs::directory_iterator(folder)) {
        if (is_surplus(entry.path().filename().string(), plan, format)) { fs::remove(entry.path()); }
    }
}

char const* to_string(RankFormat format) noexcept {
    switch (format) {
        case RankFormat::safetensors:
            return "safetensors";
        case RankFormat::hdf5:
            return "hdf5";
        case RankFormat::cuda_ipc:
            return "cuda-ipc";
    }
    return "";
}

std::string rank_file_name(std::int64_t rank, RankFormat format) {
    return fmt::format("{}{}-part-0{}", kPrefix, rank, ending(format));
}

std::string rank_file_path(std::string const& folder, std::int64_t rank, RankFormat format) {
    return (fs::path(folder) / rank_file_name(rank, format)).string();
}

std::string manifest_json(Plan const& plan, RankFormat format, SourceRecord const& source) {
    Json json = {
        {"schema", "shardwise.manifest/1"},
        {"world", plan.mesh.world()},
        {"mesh",
         {{"pp", plan.mesh.pp},
          {"dp", plan.mesh.dp},
          {"fsdp", plan.mesh.fsdp},
          {"tp", plan.mesh.tp},
          {"ep", plan.mesh.expert_ranks()}}},
        {"architecture", plan.architecture},
        {"plan", plan.plan_name},
        {"source_digest", plan.source_digest},
        {"plan_digest", plan.digest},
        {"format", to_string(format)},
    };
    for (std::int64_t rank = 0; rank < plan.mesh.world(); ++rank) {
        json["files"].push_back(rank_file_name(rank, format));
    }
    json["tied"] = Json::object();
    Json tensors = Json::object();
    auto& members = tensors.get_ref<Json::object_t&>();  // names differ: no need to look for each among the others
    for (auto const* list : {&plan.tensors, &plan.elsewhere}) {
        for (auto const& tensor : *list) {
            Json entry = {
                {"dtype", to_string(tensor.dtype)},
                {"shape", std::vector<std::int64_t>(tensor.global_shape.begin(), tensor.global_shape.end())},
                {"placement", placement_json(tensor.placement)},
            };
            members.emplace_back(tensor.name, std::move(entry));
            for (auto const& alias : tensor.aliases) { json["tied"][alias] = tensor.name; }
        }
    }
    json["tensors"] = std::move(tensors);
    // The source goes on one line: one line a name, a type and an extent would make most of the file.
    auto text = json.dump(1);
    text.resize(text.rfind("\n}"));
    return fmt::format("{},\n \"source\": {}\n}}\n", text, source_json(source));
}

FileHeader read_rank_file(std::string const& path, RankFormat format) {
    if (format == RankFormat::cuda_ipc) {
        throw Error(Errc::input, fmt::format("{} tells where tensors lie in a GPU, it holds none; load with --format "
                                             "safetensors or hdf5 for files of tensors",
                                             path));
    }
    return format == RankFormat::hdf5 ? read_hdf5_rank_file(path) : read_file_header(path);
}

PendingFile write_safetensors_rank_file(ParameterStore const& store, Plan const& plan, std::string const& path) {
    std::vector<TensorEntry> entries;
    for (auto const& tensor : plan.tensors) {
        entries.push_back({tensor.name, tensor.dtype, tensor.local_shape, tensor.size_bytes});
    }
    auto const order = safetensors_order(entries);
    std::vector<TensorEntry> ordered;
    std::uint64_t data_bytes = 0;
    for (auto const index : order) {
        ordered.push_back(entries[index]);
        data_bytes += entries[index].size_bytes;
    }
    std::map<std::string, std::string> const metadata = {
        {"format", "pt"},
        {kRankNote, std::to_string(plan.rank)},
        {kWorldNote, std::to_string(plan.mesh.world())},
        {kSourceNote, plan.source_digest},
    };
    auto const header = safetensors_header(ordered, metadata, kSlotAlignment);
    PendingFile file(path);
    FileWriter writer(file, header.size() + data_bytes);
    writer.write(std::as_bytes(std::span(header)));
    for (auto const index : order) { writer.write(store.on_host(index).bytes); }
    writer.close();
    return file;
}

}  // namespace shardwise
