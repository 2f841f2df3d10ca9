#include <algorithm>
#include <filesystem>
#include <map>

#include <fmt/format.h>

#include <shardwise/export.hpp>

#include "catalog/safetensors.hpp"
#include "exec/checkpoint_writer.hpp"
#include "exec/gather_windows.hpp"
#include "exec/object_reader.hpp"
#include "exec/output_pieces.hpp"
#include "exec/rank_file_set.hpp"
#include "exec/write_checkpoint.hpp"
#include "mapping/held_catalog.hpp"
#include "mapping/parameters.hpp"
#include "plan/mapping_options.hpp"
#include "plan/parameter_digest.hpp"
#include "sink/manifest.hpp"
#include "util/file.hpp"

namespace shardwise {
namespace {

namespace fs = std::filesystem;

/// Rank 0 reads the manifest; the others are told.
Manifest share_manifest(std::string const& folder, Communicator& communicator) {
    auto const path = manifest_path(folder);
    std::string text;
    together(communicator, [&] {
        if (communicator.rank() == 0) { text = read_text(path); }
    });
    auto const begin = reinterpret_cast<std::byte const*>(text.data());
    auto const bytes = communicator.broadcast({begin, begin + text.size()}, 0);
    Manifest manifest;
    together(communicator, [&] {
        manifest = parse_manifest({reinterpret_cast<char const*>(bytes.data()), bytes.size()}, path);
        if (manifest.source) { return; }
        throw Error(Errc::input, fmt::format("{}: the key 'source' is missing: the rank files were written by a "
                                             "version that had no export; load again",
                                             path));
    });
    return manifest;
}

/// What a load made of a checkpoint, as the checkpoint that is to be written.
struct Source {
    Source(Catalog const& catalog, Architecture const& architecture, PlanOptions const& options, Parameters parameters)
        : is_loaded(sources_of(parameters.list, catalog)),
          held(held_checkpoint(catalog, architecture, mapping_options(options), std::move(parameters))),
          pieces(held.catalog, std::move(held.parameters), options.mesh) {}

    std::vector<bool> is_loaded;  ///< by tensor of the source: some parameter is made of it
    HeldCheckpoint held;
    ShardPieces pieces;
};

/// The load's, made again from the rules that the manifest keeps.
void restore(std::optional<Source>& restored, Manifest const& manifest, std::string const& folder) {
    auto const& source = *manifest.source;
    auto const path = manifest_path(folder);
    auto const architecture = Architecture::restore(source.architecture, path);
    auto options = source.options;
    options.mesh = manifest.mesh;
    auto parameters = map_parameters(source.catalog, architecture, mapping_options(options));
    if (digest_of(parameters.list) != source.parameters_digest) {
        throw Error(Errc::input, fmt::format("{}: this version of shardwise makes other parameters of the rules in it; "
                                             "export with the version that loaded, or load again",
                                             path));
    }
    restored.emplace(source.catalog, architecture, options, std::move(parameters));
}

/// Split as the source was; within a file, elements of other sizes than before are put into the usual order, so that
/// each begins at a multiple of its own.
CheckpointLayout layout_of(Source const& source, ExportOptions const& options) {
    auto like = layout_like(source.held.catalog, source.pieces.is_held());
    if (source.held.is_changed) { put_wide_first(like); }
    if (!options.max_file_bytes) { return like; }
    std::vector<OutputTensor> tensors;
    HeaderNotes notes;
    for (auto& file : like.files) {
        notes.insert(file.metadata.begin(), file.metadata.end());
        std::ranges::move(file.tensors, std::back_inserter(tensors));
    }
    return layout_split(std::move(tensors), notes, *options.max_file_bytes);
}

/// A store's tensors in memory of the host: those held, or copies out of a GPU.
std::vector<HeldTensor> on_host(ParameterStore const& store) {
    std::vector<HeldTensor> tensors;
    for (std::size_t i = 0; i < store.size(); ++i) { tensors.push_back(store.on_host(i)); }
    return tensors;
}

/// What this rank holds of every parameter; nothing of those of other stages. @p store has them in the order of the
/// plan.
std::vector<std::span<std::byte const>> tensors_of(std::span<HeldTensor const> store, Plan const& plan,
                                                   std::span<Parameter const> parameters) {
    std::map<std::string_view, std::span<std::byte const>> held;
    for (auto const& tensor : store) { held.emplace(tensor.info->name, tensor.bytes); }
    std::vector<std::span<std::byte const>> tensors;
    for (auto const& parameter : parameters) {
        if (!is_held(parameter.placement, plan.mesh, plan.rank)) {
            tensors.emplace_back();
            continue;
        }
        auto const found = held.find(parameter.name);
        if (found == held.end()) {
            throw Error(Errc::usage, fmt::format("export: the store does not hold {}, which catalog, architecture and "
                                                 "options make: those of another load?",
                                                 parameter.name));
        }
        tensors.push_back(found->second);
    }
    return tensors;
}

}  // namespace

ExportReport export_checkpoint(std::string const& rank_folder, std::string const& out, ExportOptions const& options,
                               Context& context) {
    auto& communicator = context.communicator();
    auto const manifest = share_manifest(rank_folder, communicator);
    std::optional<Source> source;
    CheckpointLayout layout;
    together(communicator, [&] {
        restore(source, manifest, rank_folder);
        layout = layout_of(*source, options);
    });
    auto const& config_json = source->held.catalog.config_json();
    check_target_once(out, config_json, options, communicator);
    auto const files = open_rank_files(rank_folder, manifest, source->pieces.parameters(), communicator);
    ObjectReader reader(files.paths, [&](int rank, std::uint32_t tensor) { return files.place(rank, tensor); });
    WindowParts parts(layout, source->pieces);
    write_checkpoint(
        layout, config_json, out,
        [&](Window const& window, std::span<std::byte> bytes) { reader.fill(parts.parts_of(window, 0), bytes); },
        communicator);
    return report_of(layout, out, manifest.source->catalog, source->is_loaded);
}

ExportReport export_checkpoint(ParameterStore const& store, Plan const& plan, Catalog const& catalog,
                               Architecture const& architecture, PlanOptions const& plan_options,
                               std::string const& out, ExportOptions const& options, Context& context) {
    auto& communicator = context.communicator();
    std::optional<Source> source;
    CheckpointLayout layout;
    std::vector<std::vector<Window>> windows;
    std::vector<HeldTensor> held;
    std::vector<std::span<std::byte const>> tensors;
    together(communicator, [&] {
        auto parameters = map_parameters(catalog, architecture, mapping_options(plan_options));
        source.emplace(catalog, architecture, plan_options, std::move(parameters));
        held = on_host(store);
        tensors = tensors_of(held, plan, source->pieces.parameters());
        layout = layout_of(*source, options);
        windows = deal_windows(layout, communicator.size(), gathered_window_bytes(communicator.size()));
    });
    auto const& config_json = source->held.catalog.config_json();
    check_target_once(out, config_json, options, communicator);
    WindowParts parts(layout, source->pieces);
    CheckpointWriter writer(layout, out);
    gather_windows(parts, tensors, windows, writer, communicator);
    put_in_place(layout, out, config_json, writer, communicator);
    return report_of(layout, out, catalog, source->is_loaded);
}

}  // namespace shardwise
