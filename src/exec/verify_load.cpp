#include <algorithm>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include <shardwise/verify.hpp>

#include "comm/communicator.hpp"
#include "convert/block_scale.hpp"
#include "convert/cast.hpp"
#include "convert/position_digest.hpp"
#include "convert/runs.hpp"
#include "exec/device_digest.hpp"
#include "exec/parameter_store.hpp"
#include "exec/piece_digest.hpp"
#include "mapping/parameters.hpp"
#include "mapping/tiling.hpp"
#include "plan/copy_block.hpp"
#include "plan/mapping_options.hpp"
#include "plan/scalings.hpp"
#include "util/file.hpp"

namespace shardwise {
namespace {

constexpr std::uint64_t kChunkBytes = 3ULL << 20U;  ///< whole elements of any type

/// A part of a parameter that comes from one stored tensor; sources are bytes of it, targets global bytes of the
/// parameter.
struct SourcePart {
    std::uint32_t source = 0;
    std::uint32_t parameter = 0;
    std::uint64_t copies = 1;  ///< ranks that hold each byte of it
    CopyBlock block;
};

void add_parts(std::vector<SourcePart>& parts, View const& view, std::uint32_t index, Parameter const& parameter,
               std::uint64_t copies) {
    for (auto const& region : view.regions) {
        parts.push_back({region.source, index, copies, lower(region, parameter.value.shape, parameter.value.dtype)});
    }
}

/// A tile of a parameter, at its place in the whole, and how many ranks hold it.
struct Copies {
    HeldBox tile;
    std::uint64_t count = 0;
};

std::vector<Copies> copies_of(Parameter const& parameter, Mesh const& mesh) {
    auto const& [placement, shape] = std::tie(parameter.placement, parameter.value.shape);
    auto const stages = placement.stages.empty() ? mesh.pp : static_cast<std::int64_t>(placement.stages.size());
    Tiling const tiling(placement, shape, mesh);
    std::map<std::vector<std::int64_t>, Copies> tiles;  // by corner
    for (std::int64_t rank = 0; rank < mesh.copy_ranks(); ++rank) {
        for (auto const& box : held_boxes(placement, shape, mesh, rank)) {
            for (auto& tile : tiling.tiles_of(box)) {
                auto const corner = corner_of(tile);
                tile.local_begin.assign(corner.begin(), corner.end());
                auto& copies = tiles.try_emplace(corner, Copies{tile, 0}).first->second;
                copies.count += static_cast<std::uint64_t>(stages * mesh.dp);
            }
        }
    }
    std::vector<Copies> result;
    for (auto& [corner, copies] : tiles) { result.push_back(std::move(copies)); }
    return result;
}

/// Every part of every parameter, ordered by stored tensor.
std::vector<SourcePart> list_parts(std::span<Parameter const> parameters, Mesh const& mesh) {
    std::vector<SourcePart> parts;
    for (std::uint32_t index = 0; index < parameters.size(); ++index) {
        auto const& parameter = parameters[index];
        auto const view = evaluate(parameter.value);
        auto const copies = copies_of(parameter, mesh);
        auto const first = copies.empty() ? 0 : copies.front().count;
        if (std::all_of(copies.begin(), copies.end(), [&](Copies const& tile) { return tile.count == first; })) {
            add_parts(parts, view, index, parameter, first);
            continue;
        }
        for (auto const& [tile, count] : copies) { add_parts(parts, part_at(view, tile), index, parameter, count); }
    }
    std::stable_sort(parts.begin(), parts.end(), [](auto const& a, auto const& b) { return a.source < b.source; });
    return parts;
}

/// The scales of quantized tensors, whole, by index of their tensor.
class WholeScales {
   public:
    WholeScales(Catalog const& catalog, std::span<Parameter const> parameters)
        : catalog_(catalog), grids_(grids_of(parameters)) {}

    /// Those of tensor @p scaling; read when they are first wanted.
    BlockScaling get(std::uint32_t scaling) {
        auto const& stored = catalog_.tensors()[scaling];
        auto const [at, is_new] = bytes_.try_emplace(scaling);
        if (is_new) {
            auto const& path = catalog_.files()[stored.file].path;
            at->second.resize(stored.size_bytes);
            read_exactly(open_for_read(path), path, stored.begin, at->second);
        }
        return {grids_.at(scaling), {at->second, stored.dtype, 0}};
    }

   private:
    Catalog const& catalog_;
    std::map<std::uint32_t, BlockGrid> grids_;
    std::map<std::uint32_t, std::vector<std::byte>> bytes_;
};

/// Digest of the run of a block at @p source by its place in the whole parameter. Converted by the same kernels as in a
/// load, which tests hold against their references: those are a hundred times slower.
/// @param converted memory to work in.
std::uint64_t digest_run(CopyBlock const& block, std::uint64_t source, std::span<std::byte const> run,
                         std::uint64_t target, WholeScales& scales, std::vector<std::byte>& converted) {
    auto const& cast = block.cast;
    auto const unit = digest_unit_bytes(cast.to);
    converted.resize(elements_in(cast.from, run.size()) * unit);
    if (cast.scaling == kUnscaled) {
        shardwise::cast(cast.from, run, cast.to, converted);
    } else {
        auto const scaling = scales.get(cast.scaling);
        dequantize(scaling.grid, scaling.scales, element_at(block, source), cast.from, run, cast.to, converted);
    }
    return position_digest(converted, unit, target / unit, cast.target_step / unit);
}

/// Adds the digests of what @p parts take from one stored tensor.
void digest_source(TensorRecord const& stored, FileRecord const& file, std::span<SourcePart const> parts,
                   std::span<Parameter const> parameters, WholeScales& scales, std::vector<std::uint64_t>& digests) {
    Fd const fd = open_for_read(file.path);
    std::vector<std::byte> chunk;
    std::vector<CopyBlock> clipped;
    std::vector<std::byte> converted;
    for (std::uint64_t begin = 0; begin < stored.size_bytes; begin += kChunkBytes) {
        ByteRange const range = {begin, std::min(begin + kChunkBytes, stored.size_bytes)};
        chunk.resize(range.size());
        read_exactly(fd, file.path, stored.begin + begin, chunk);
        for (auto const& part : parts) {
            auto const unit = digest_unit_bytes(parameters[part.parameter].value.dtype);
            clipped.clear();
            clip(part.block, range, clipped);
            for (auto const& block : clipped) {
                for_each_run(block, [&](std::uint64_t source, std::uint64_t target, std::uint64_t size) {
                    auto const bytes = std::span<std::byte const>(chunk).subspan(source - begin, size);
                    auto const digest = block.cast.is_move()
                                            ? position_digest(bytes, unit, target / unit)
                                            : digest_run(block, source, bytes, target, scales, converted);
                    digests[part.parameter] += part.copies * digest;
                });
            }
        }
    }
}

/// What all ranks together must hold, from this rank's share of the stored tensors.
std::vector<std::uint64_t> expected_digests(Catalog const& catalog, std::span<Parameter const> parameters,
                                            Mesh const& mesh, std::int64_t rank) {
    auto const parts = list_parts(parameters, mesh);
    std::vector<std::uint64_t> digests(parameters.size(), 0);
    WholeScales scales(catalog, parameters);
    auto const share = catalog.tensor_bytes() / static_cast<std::uint64_t>(mesh.world()) + 1;
    std::uint64_t passed = 0;
    for (auto first = parts.begin(); first != parts.end();) {
        auto const last =
            std::find_if(first, parts.end(), [&](SourcePart const& part) { return part.source != first->source; });
        auto const& stored = catalog.tensors()[first->source];
        if (passed / share == static_cast<std::uint64_t>(rank)) {
            digest_source(stored, catalog.files()[stored.file], {first, last}, parameters, scales, digests);
        }
        passed += stored.size_bytes;
        first = last;
    }
    return digests;
}

/// Calls @p visit(index of the parameter, tensor, part) for every part that this rank holds.
template <class Visit>
void for_each_held_part(ParameterStore const& store, Plan const& plan, std::span<Parameter const> parameters,
                        Visit const& visit) {
    std::map<std::string, std::size_t> index_of;  // parameters are in natural order, tensors by priority first
    for (std::size_t i = 0; i < store.size(); ++i) { index_of.emplace(store[i].info->name, i); }
    for (std::size_t index = 0; index < parameters.size(); ++index) {
        auto const& parameter = parameters[index];
        if (!is_held(parameter.placement, plan.mesh, plan.rank)) { continue; }
        auto const tensor = store[index_of.at(parameter.name)];
        Tiling const tiling(tensor.info->placement, tensor.info->global_shape, plan.mesh);
        for (auto const& part : held_parts(*tensor.info, tiling, plan.mesh, plan.rank)) { visit(index, tensor, part); }
    }
}

/// What this rank holds of each parameter; 0 for those of other stages.
std::vector<std::uint64_t> held_digests(ParameterStore const& store, Plan const& plan,
                                        std::span<Parameter const> parameters) {
    if (store.device() == Device::cuda) {
        DeviceDigests digests;
        for_each_held_part(store, plan, parameters,
                           [&](std::size_t index, HeldTensor const& tensor, HeldPart const& part) {
                               digests.add(part, tensor.info->dtype, tensor.bytes, static_cast<std::uint32_t>(index));
                           });
        return digests.work_out(*store.data()->accelerator, parameters.size());
    }
    std::vector<std::uint64_t> digests(parameters.size(), 0);
    for_each_held_part(store, plan, parameters, [&](std::size_t index, HeldTensor const& tensor, HeldPart const& part) {
        digests[index] += digest_part(part, tensor.info->dtype, tensor.bytes);
    });
    return digests;
}

}  // namespace

void verify_load(ParameterStore const& store, Plan const& plan, Catalog const& catalog,
                 Architecture const& architecture, PlanOptions const& options, Context& context) {
    auto& communicator = context.communicator();
    Parameters parameters;
    std::vector<std::uint64_t> expected;
    std::vector<std::uint64_t> held;
    together(communicator, [&] {
        parameters = map_parameters(catalog, architecture, mapping_options(options));
        expected = expected_digests(catalog, parameters.list, plan.mesh, plan.rank);
        held = held_digests(store, plan, parameters.list);
    });
    expected = communicator.sum(std::move(expected));
    held = communicator.sum(std::move(held));
    for (std::size_t i = 0; i < parameters.list.size(); ++i) {
        if (held[i] == expected[i]) { continue; }
        throw Error(
            Errc::io,
            fmt::format("verify: the ranks do not hold {} as the checkpoint has it (digest {:016x}, expected {:016x})",
                        parameters.list[i].name, held[i], expected[i]))
            .on_rank(0);
    }
}

}  // namespace shardwise
