// Opening a checkpoint and looking at its files with all ranks of a job.
#include <algorithm>

#include <fmt/format.h>

#include <shardwise/catalog.hpp>
#include <shardwise/materialize.hpp>

#include "catalog/file_header.hpp"
#include "catalog/file_set.hpp"
#include "comm/communicator.hpp"
#include "exec/file_answers.hpp"
#include "io/file_access.hpp"
#include "util/parallel.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

/// Rank 0 looks at the folder; the others are told.
FileSet share_file_set(std::string const& path, Communicator& communicator) {
    std::vector<std::byte> bytes;
    together(communicator, [&] {
        if (communicator.rank() == 0) { bytes = encode(resolve_file_set(path)); }
    });
    return decode_file_set(communicator.broadcast(std::move(bytes), 0));
}

std::vector<std::byte> encode(FileFacts const& facts) {
    WireWriter out;
    out.put(facts.cached_fraction);
    out.put(facts.is_memory);
    out.put(facts.allows_direct);
    out.put(facts.file_system);
    out.put(facts.is_network);
    out.put(facts.memory_alignment);
    return out.take();
}

FileFacts decode_facts(std::span<std::byte const> bytes) {
    WireReader in(bytes);
    FileFacts facts;
    facts.cached_fraction = in.get<double>();
    facts.is_memory = in.get<bool>();
    facts.allows_direct = in.get<bool>();
    facts.file_system = in.get_text();
    facts.is_network = in.get<bool>();
    facts.memory_alignment = in.get<std::uint64_t>();
    return facts;
}

void keep_worst(FileFacts& facts, FileFacts const& other) {
    facts.cached_fraction = std::min(facts.cached_fraction, other.cached_fraction);
    facts.is_memory = facts.is_memory && other.is_memory;
    facts.allows_direct = facts.allows_direct && other.allows_direct;
    facts.is_network = facts.is_network || other.is_network;
    facts.memory_alignment = std::max(facts.memory_alignment, other.memory_alignment);
}

}  // namespace

Catalog Catalog::open(std::string const& path, Context& context) {
    auto& communicator = context.communicator();
    auto const files = share_file_set(path, communicator);
    std::vector<FileAnswer> own;
    together(communicator, [&] {
        auto const ranks = static_cast<std::size_t>(communicator.size());
        std::vector<std::string> paths;
        for (auto file = static_cast<std::size_t>(communicator.rank()); file < files.paths.size(); file += ranks) {
            own.push_back({file, {}});
            paths.push_back(files.paths[file]);
        }
        auto const headers = read_file_headers(paths);
        for (std::size_t i = 0; i < own.size(); ++i) { own[i].bytes = encode(headers[i]); }
    });
    std::vector<FileHeader> headers(files.paths.size());
    exchange_answers(communicator, own, [&](std::uint64_t file, std::span<std::byte const> bytes) {
        headers[file] = decode_file_header(bytes);
    });

    std::optional<Catalog> catalog;
    together(communicator, [&] { catalog = build_catalog(files, std::move(headers)); });
    return *std::move(catalog);
}

std::vector<FileFacts> probe_files(Catalog const& catalog, Context& context) {
    auto& communicator = context.communicator();
    auto const& neighbours = communicator.layout().neighbours;
    auto const place = std::find(neighbours.begin(), neighbours.end(), communicator.rank()) - neighbours.begin();
    std::vector<FileAnswer> own;
    together(communicator, [&] {
        for (auto file = static_cast<std::size_t>(place); file < catalog.files().size(); file += neighbours.size()) {
            own.push_back({file, {}});
        }
        for_each_file(own.size(),
                      [&](std::size_t i) { own[i].bytes = encode(probe_file(catalog.files()[own[i].file])); });
    });
    std::vector<std::optional<FileFacts>> facts(catalog.files().size());
    exchange_answers(communicator, own, [&](std::uint64_t file, std::span<std::byte const> bytes) {
        auto const answer = decode_facts(bytes);
        if (facts[file]) {
            keep_worst(*facts[file], answer);
        } else {
            facts[file] = answer;
        }
    });
    std::vector<FileFacts> result;
    for (auto& file : facts) { result.push_back(std::move(file).value()); }
    return result;
}

}  // namespace shardwise
