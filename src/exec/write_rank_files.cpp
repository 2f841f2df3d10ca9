#include "exec/write_rank_files.hpp"

#include <filesystem>
#include <optional>

#include "comm/communicator.hpp"
#include "exec/handoff.hpp"
#include "sink/manifest.hpp"

namespace shardwise {

namespace fs = std::filesystem;

namespace {

PendingFile write_rank_file(ParameterStore const& store, Plan const& plan, std::string const& path, RankFormat format) {
    switch (format) {
        case RankFormat::safetensors:
            break;
        case RankFormat::hdf5:
            return write_hdf5_rank_file(store, plan, path);
        case RankFormat::cuda_ipc:
            return pending_text(path, to_json(handoff_of(store, plan)));
    }
    return write_safetensors_rank_file(store, plan, path);
}

}  // namespace

std::uint64_t write_rank_files(ParameterStore const& store, Plan const& plan, Context& context,
                               std::string const& folder, RankFormat format, LoadSource const& source) {
    auto& communicator = context.communicator();
    auto const path = rank_file_path(folder, plan.rank, format);
    std::optional<PendingFile> file;
    std::uint64_t written = 0;
    std::string manifest;
    together(communicator, [&] {
        file.emplace(write_rank_file(store, plan, path, format));
        file->make_durable();
        written = fs::file_size(file->temporary_path());
        if (communicator.rank() != 0) { return; }
        manifest = manifest_json(plan, format, record_source(source.catalog, source.architecture, source.options));
    });
    together(communicator, [&] {
        if (communicator.rank() == 0) { fs::remove(manifest_path(folder)); }
    });
    together(communicator, [&] { file->commit(); });
    together(communicator, [&] {
        if (communicator.rank() != 0) { return; }
        remove_surplus_rank_files(folder, plan, format);
        write_file_atomically(manifest_path(folder), manifest);
    });
    return written;
}

}  // namespace shardwise
