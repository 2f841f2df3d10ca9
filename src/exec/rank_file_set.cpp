#include "exec/rank_file_set.hpp"

#include <filesystem>
#include <map>

#include <fmt/format.h>

#include "exec/file_answers.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

/// A file of another set, or one that has got another one's name, has the right tensors and the wrong values.
void check_notes(FileHeader const& header, Manifest const& manifest, std::size_t rank) {
    std::map<std::string, std::string> const expected = {{kRankNote, std::to_string(rank)},
                                                         {kWorldNote, std::to_string(manifest.mesh.world())},
                                                         {kSourceNote, manifest.source_digest}};
    for (auto const& [note, value] : expected) {
        auto const found = header.file.metadata.find(note);
        if (found != header.file.metadata.end() && found->second == value) { continue; }
        throw Error(Errc::input,
                    fmt::format("{} is not the file of rank {} of this set: its {} is {}, expected {}",
                                header.file.path, rank, note,
                                found == header.file.metadata.end() ? "missing" : "'" + found->second + "'", value));
    }
}

void check_tensor(FileHeader const& header, TensorRecord const& held, Parameter const& parameter,
                  Mesh const& mesh, std::int64_t rank) {
    auto const dtype = parameter.value.dtype;
    auto const shape = local_shape(parameter.placement, parameter.value.shape, mesh, rank);
    if (held.dtype == dtype && held.shape == shape) { return; }
    throw Error(Errc::input,
                fmt::format("{}: {} is {} {}, the manifest says {} {}", header.file.path, held.name,
                            to_string(held.dtype), to_string(held.shape), to_string(dtype), to_string(shape)));
}

/// First byte of every parameter in the file; 0 for those of other stages.
std::vector<std::uint64_t> find_tensors(FileHeader const& header, std::span<Parameter const> parameters,
                                        Mesh const& mesh, std::int64_t rank) {
    std::map<std::string_view, TensorRecord const*> held;
    for (auto const& tensor : header.tensors) { held.emplace(tensor.name, &tensor); }
    std::vector<std::uint64_t> begin;
    for (auto const& parameter : parameters) {
        if (!is_held(parameter.placement, mesh, rank)) {
            begin.push_back(0);
            continue;
        }
        auto const found = held.find(parameter.name);
        if (found == held.end()) {
            throw Error(Errc::input, fmt::format("{} does not hold {}, which the manifest lists", header.file.path,
                                                 parameter.name));
        }
        check_tensor(header, *found->second, parameter, mesh, rank);
        begin.push_back(found->second->begin);
        held.erase(found);
    }
    if (held.empty()) { return begin; }
    throw Error(Errc::input, fmt::format("{} holds {}, which the manifest does not list", header.file.path,
                                         held.begin()->first));
}

std::vector<std::byte> encode(std::vector<std::uint64_t> const& numbers) {
    WireWriter out;
    for (auto const number : numbers) { out.put(number); }
    return out.take();
}

}  // namespace

RankFileSet open_rank_files(std::string const& folder, Manifest const& manifest, std::span<Parameter const> parameters,
                            Communicator& communicator) {
    RankFileSet set;
    for (auto const& file : manifest.files) { set.paths.push_back((std::filesystem::path(folder) / file).string()); }
    std::vector<std::int64_t> leaders;  // replicas hold the same
    for (std::int64_t rank = 0; rank < manifest.mesh.world(); ++rank) {
        if (manifest.mesh.leader(rank) == rank) { leaders.push_back(rank); }
    }
    std::vector<FileAnswer> own;
    together(communicator, [&] {
        auto const ranks = static_cast<std::size_t>(communicator.size());
        for (auto i = static_cast<std::size_t>(communicator.rank()); i < leaders.size(); i += ranks) {
            auto const rank = static_cast<std::size_t>(leaders[i]);
            auto const header = read_rank_file(set.paths[rank], manifest.format);
            check_notes(header, manifest, rank);
            own.push_back({rank, encode(find_tensors(header, parameters, manifest.mesh, leaders[i]))});
        }
    });
    set.begin.resize(set.paths.size());
    exchange_answers(communicator, own, [&](std::uint64_t rank, std::span<std::byte const> bytes) {
        WireReader in(bytes);
        while (!in.is_empty()) { set.begin[rank].push_back(in.get<std::uint64_t>()); }
    });
    return set;
}

}  // namespace shardwise
