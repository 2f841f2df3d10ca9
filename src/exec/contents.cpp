// Digests of what stands on disk, whole or in rank files.
#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include <shardwise/error.hpp>
#include <shardwise/verify.hpp>

#include "convert/position_digest.hpp"
#include "exec/piece_digest.hpp"
#include "sink/manifest.hpp"
#include "sink/rank_files.hpp"
#include "util/file.hpp"

namespace shardwise {
namespace {

namespace fs = std::filesystem;

std::uint64_t digest_whole(TensorRecord const& tensor, std::string const& path) {
    constexpr std::uint64_t kChunkBytes = 4ULL << 20U;
    auto const unit = digest_unit_bytes(tensor.dtype);
    Fd const fd = open_for_read(path);
    std::vector<std::byte> chunk;
    std::uint64_t digest = 0;
    for (std::uint64_t at = 0; at < tensor.size_bytes; at += kChunkBytes) {
        chunk.resize(std::min(kChunkBytes, tensor.size_bytes - at));
        read_exactly(fd, path, tensor.begin + at, chunk);
        digest += position_digest(chunk, unit, at / unit);
    }
    return digest;
}

/// What one rank's file holds of one tensor.
struct HeldPiece {
    std::int64_t rank = 0;
    TensorRecord record;
    std::string path;
};

std::vector<std::byte> read_piece(PlannedTensor const& tensor, Mesh const& mesh, HeldPiece const& piece) {
    auto const shape = local_shape(tensor.placement, tensor.global_shape, mesh, piece.rank);
    if (piece.record.dtype != tensor.dtype || piece.record.shape != shape) {
        throw Error(Errc::input, fmt::format("{}: {} is {} {}, the manifest says {} {}", piece.path, tensor.name,
                                             to_string(piece.record.dtype), to_string(piece.record.shape),
                                             to_string(tensor.dtype), to_string(shape)));
    }
    std::vector<std::byte> bytes(piece.record.size_bytes);
    read_exactly(open_for_read(piece.path), piece.path, piece.record.begin, bytes);
    return bytes;
}

/// Sum over all parts of the tensor, each taken once; ranks that hold the same part must hold the same values.
std::uint64_t digest_tensor(PlannedTensor const& tensor, Mesh const& mesh, std::vector<HeldPiece> const& pieces) {
    Tiling const tiling(tensor.placement, tensor.global_shape, mesh);
    std::map<std::vector<std::int64_t>, std::uint64_t> digest_of_part;  // by its corner
    for (auto const& piece : pieces) {
        auto const bytes = read_piece(tensor, mesh, piece);
        for (auto const& part : held_parts(tensor, tiling, mesh, piece.rank)) {
            auto const digest = digest_part(part, tensor.dtype, bytes);
            auto const [at, is_first] = digest_of_part.emplace(part.corner, digest);
            if (is_first || at->second == digest) { continue; }
            throw Error(Errc::input,
                        fmt::format("{}: rank {} and another rank hold the same part with different values",
                                    tensor.name, piece.rank));
        }
    }
    std::uint64_t sum = 0;
    for (auto const& [corner, digest] : digest_of_part) { sum += digest; }
    return sum;
}

/// Every rank of the stages that hold the tensor has a file with it, no other has.
void check_holders(std::string const& folder, PlannedTensor const& tensor, Manifest const& manifest,
                   std::vector<HeldPiece> const& pieces) {
    std::size_t expected = 0;
    for (std::int64_t rank = 0; rank < manifest.mesh.world(); ++rank) {
        expected += is_held(tensor.placement, manifest.mesh, rank) ? 1 : 0;
    }
    bool const is_misplaced = std::any_of(pieces.begin(), pieces.end(), [&](HeldPiece const& piece) {
        return !is_held(tensor.placement, manifest.mesh, piece.rank);
    });
    if (is_misplaced) {
        throw Error(Errc::input,
                    fmt::format("{}: {} stands in the file of a stage that does not hold it by the manifest", folder,
                                tensor.name));
    }
    if (pieces.size() != expected) {
        throw Error(Errc::input,
                    fmt::format("{}: {} stands in {} of {} rank files", folder, tensor.name, pieces.size(), expected));
    }
}

std::map<std::string, ContentDigest> digest_rank_files(std::string const& folder) {
    auto const manifest = read_manifest(folder);
    std::map<std::string, std::vector<HeldPiece>> pieces;
    for (std::size_t rank = 0; rank < manifest.files.size(); ++rank) {
        auto const path = (fs::path(folder) / manifest.files[rank]).string();
        for (auto& record : read_rank_file(path, manifest.format).tensors) {
            auto const name = record.name;
            if (!manifest.tensors.contains(name)) {
                throw Error(Errc::input, fmt::format("{} holds {}, which the manifest does not list", path, name));
            }
            pieces[name].push_back({static_cast<std::int64_t>(rank), std::move(record), path});
        }
    }
    std::map<std::string, ContentDigest> contents;
    for (auto const& [name, tensor] : manifest.tensors) {
        check_holders(folder, tensor, manifest, pieces[name]);
        contents.emplace(
            name, ContentDigest{tensor.dtype, tensor.global_shape, digest_tensor(tensor, manifest.mesh, pieces[name])});
    }
    return contents;
}

}  // namespace

std::map<std::string, ContentDigest> digest_contents(std::string const& path) {
    if (has_manifest(path)) { return digest_rank_files(path); }
    auto const catalog = Catalog::open(path);
    std::map<std::string, ContentDigest> contents;
    for (auto const& tensor : catalog.tensors()) {
        contents.emplace(tensor.name, ContentDigest{tensor.dtype, tensor.shape,
                                                    digest_whole(tensor, catalog.files()[tensor.file].path)});
    }
    return contents;
}

std::vector<std::string> compare_contents(std::map<std::string, ContentDigest> const& a,
                                          std::map<std::string, ContentDigest> const& b) {
    std::vector<std::string> differences;
    for (auto const& [name, content] : a) {
        auto const other = b.find(name);
        if (other == b.end()) {
            differences.push_back(fmt::format("{}: only in the first", name));
        } else if (content.dtype != other->second.dtype || content.shape != other->second.shape) {
            differences.push_back(fmt::format("{}: {} {} and {} {}", name, to_string(content.dtype),
                                              to_string(content.shape), to_string(other->second.dtype),
                                              to_string(other->second.shape)));
        } else if (content.digest != other->second.digest) {
            differences.push_back(fmt::format("{}: values differ (digests {:016x} and {:016x})", name, content.digest,
                                              other->second.digest));
        }
    }
    for (auto const& [name, content] : b) {
        if (!a.contains(name)) { differences.push_back(fmt::format("{}: only in the second", name)); }
    }
    return differences;
}

}  // namespace shardwise
