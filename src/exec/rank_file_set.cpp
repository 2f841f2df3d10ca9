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
                  std::int64_t tp_rank) {
    auto const dtype = parameter.value.dtype;
    auto const shape = local_shape(parameter.placement, parameter.value.shape, tp_rank);
    if (held.dtype == dtype && held.shape == shape) { return; }
    throw Error(Errc::input,
                fmt::format("{}: {} is {} {}, the manifest says {} {}", header.file.path, held.name,
                            to_string(held.dtype), to_string(held.shape), to_string(dtype), to_string(shape)));
}

/// First byte of every parameter in the file.
std::vector<std::uint64_t> find_tensors(FileHeader const& header, std::span<Parameter const> parameters,
                                        std::int64_t tp_rank) {
    std::map<std::string_view, TensorRecord const*> held;
    for (auto const& tensor : header.tensors) { held.emplace(tensor.name, &tensor); }
    std::vector<std::uint64_t> begin;
    for (auto const& parameter : parameters) {
        auto const found = held.find(parameter.name);
        if (found == held.end()) {
            throw Error(Errc::input, fmt::format("{} does not hold {}, which the manifest lists", header.file.path,
                                                 parameter.name));
        }
        check_tensor(header, *found->second, parameter, tp_rank);
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
    auto const copy = static_cast<std::size_t>(manifest.mesh.tp);
    for (std::size_t rank = 0; rank < copy; ++rank) {
        set.paths.push_back((std::filesystem::path(folder) / manifest.files[rank]).string());
    }
    std::vector<FileAnswer> own;
    together(communicator, [&] {
        auto const ranks = static_cast<std::size_t>(communicator.size());
        for (auto rank = static_cast<std::size_t>(communicator.rank()); rank < copy; rank += ranks) {
            auto const header = read_rank_file(set.paths[rank], manifest.format);
            check_notes(header, manifest, rank);
            auto const tp_rank = manifest.mesh.tp_rank(static_cast<std::int64_t>(rank));
            own.push_back({rank, encode(find_tensors(header, parameters, tp_rank))});
        }
    });
    set.begin.resize(copy);
    exchange_answers(communicator, own, [&](std::uint64_t rank, std::span<std::byte const> bytes) {
        WireReader in(bytes);
        while (!in.is_empty()) { set.begin[rank].push_back(in.get<std::uint64_t>()); }
    });
    return set;
}

}  // namespace shardwise
