#include "exec/handoff.hpp"

#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <sys/stat.h>

#include <shardwise/error.hpp>

#include "catalog/safetensors.hpp"
#include "comm/watch.hpp"
#include "exec/parameter_store.hpp"
#include "sink/manifest.hpp"
#include "util/file.hpp"

namespace shardwise {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// Which file stands under a name; nothing if none does.
using FileIdentity = std::optional<std::pair<dev_t, ino_t>>;

FileIdentity identity_of(std::string const& path) {
    struct stat facts = {};
    if (::stat(path.c_str(), &facts) != 0) { return std::nullopt; }
    return std::pair(facts.st_dev, facts.st_ino);
}

/// Network file systems show a new file of another node late.
FileIdentity wait_for_file(std::string const& path) {
    constexpr auto kPatience = 10s;
    auto const end = std::chrono::steady_clock::now() + kPatience;
    auto identity = identity_of(path);
    while (!identity && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(50ms);
        identity = identity_of(path);
    }
    return identity;
}

/// A file that a later load put there is not ours to remove.
void remove_if(FileIdentity const& identity, std::string const& path) {
    std::error_code ignored;
    if (identity_of(path) == identity) { fs::remove(path, ignored); }
}

std::shared_ptr<Accelerator> find_visible(std::string const& uuid) {
    auto const index = find_gpu(uuid);
    return index ? open_gpu(*index) : nullptr;
}

}  // namespace

HandoffFile handoff_of(ParameterStore const& store, Plan const& plan) {
    auto const* const data = store.data();
    if (data == nullptr || !data->accelerator || data->memory.size() != 1) {
        throw Error(Errc::usage, "handles can be had for tensors in one arena in the memory of a GPU only");
    }
    auto const& memory = data->memory.front();
    return {plan.rank, data->accelerator->uuid(), data->accelerator->share(memory), memory.bytes().size(),
            data->tensors};
}

ParameterStore open_handoff(std::string const& folder, std::int64_t rank,
                            std::function<std::shared_ptr<Accelerator>(std::string const& uuid)> const& find) {
    auto const manifest = read_manifest(folder);
    if (manifest.format != RankFormat::cuda_ipc) {
        throw Error(Errc::input, fmt::format("{}: the ranks left files of tensors ({}), not handles of memory",
                                             manifest_path(folder), to_string(manifest.format)));
    }
    if (rank < 0 || rank >= manifest.mesh.world()) {
        throw Error(Errc::input, fmt::format("{}: there is no rank {}, the load had {}", manifest_path(folder), rank,
                                             manifest.mesh.world()));
    }
    auto const path = rank_file_path(folder, rank, RankFormat::cuda_ipc);
    auto handoff = parse_handoff(read_text(path), path);
    auto const gpu = find(handoff.gpu_uuid);
    if (!gpu) {
        throw Error(Errc::unavailable, fmt::format("{}: {} is not visible to this process", path, handoff.gpu_uuid));
    }
    auto data = std::make_shared<ParameterStore::Data>();
    try {
        data->memory.push_back(gpu->open(handoff.handle, handoff.size_bytes));
    } catch (Error const& error) { throw error.while_(fmt::format("{}: has its load ended?", path)); }
    for (auto& tensor : handoff.tensors) {
        auto const known = manifest.tensors.find(tensor.name);
        if (known == manifest.tensors.end()) {
            throw Error(Errc::input, fmt::format("{}: the manifest does not know {}", path, tensor.name));
        }
        tensor.global_shape = known->second.global_shape;
        tensor.global_bytes = stored_bytes(tensor.dtype, tensor.global_shape);
        tensor.placement = known->second.placement;
        data->spans.push_back(data->memory.front().bytes().subspan(tensor.store_offset, tensor.size_bytes));
    }
    data->tensors = std::move(handoff.tensors);
    data->accelerator = gpu;
    return ParameterStore(std::move(data));
}

ParameterStore open_handoff(std::string const& folder, std::int64_t rank) {
    return open_handoff(folder, rank, &find_visible);
}

void hold_handoff(std::string const& folder, Communicator& communicator) {
    auto const manifest = manifest_path(folder);
    auto const own = rank_file_path(folder, communicator.rank(), RankFormat::cuda_ipc);
    FileIdentity manifest_identity;
    FileIdentity own_identity;
    together(communicator, [&] {
        manifest_identity = wait_for_file(manifest);
        own_identity = identity_of(own);
        if (manifest_identity) { return; }
        throw Error(Errc::io, fmt::format("{} is not seen by this rank: handles must lie in a folder that all nodes "
                                          "of the job share",
                                          manifest));
    });
    while (!termination_requested() && identity_of(manifest) == manifest_identity) {
        std::this_thread::sleep_for(100ms);
    }
    remove_if(manifest_identity, manifest);
    remove_if(own_identity, own);
}

}  // namespace shardwise
