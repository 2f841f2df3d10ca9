/// @file
/// One file a rank, and the manifest over all of them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <shardwise/catalog.hpp>
#include <shardwise/materialize.hpp>
#include <shardwise/plan.hpp>

#include "catalog/file_header.hpp"
#include "sink/atomic_file.hpp"
#include "sink/source_record.hpp"

namespace shardwise {

enum class RankFormat : std::uint8_t {
    safetensors,
    hdf5,
    cuda_ipc,  ///< no tensors, but where they lie in the memory of a GPU: handoff_file.hpp
};
inline constexpr std::array kRankFormats = {RankFormat::safetensors, RankFormat::hdf5, RankFormat::cuda_ipc};
char const* to_string(RankFormat format) noexcept;

/// Name of a rank's file: model-rank-RANK-part-0.safetensors, .h5 or .cuda-ipc.json, the naming of sharded states that
/// engines read.
std::string rank_file_name(std::int64_t rank, RankFormat format);

std::string rank_file_path(std::string const& folder, std::int64_t rank, RankFormat format);

/// The manifest's text.
std::string manifest_json(Plan const& plan, RankFormat format, SourceRecord const& source);

/// Removes rank files that do not belong to the set of @p plan: of more ranks, or of another format.
void remove_surplus_rank_files(std::string const& folder, Plan const& plan, RankFormat format);

/// One rank's file, written but without its name.
PendingFile write_safetensors_rank_file(ParameterStore const& store, Plan const& plan, std::string const& path);

/// @throws Error unavailable if HDF5 files can be neither written nor read: it is not built in (naming the CMake
///         option), or its library is not on this machine.
void require_hdf5();

/// The same as HDF5: a contiguous dataset a tensor, aligned to 64 KiB, with attributes dtype, global_shape, placement.
/// Types that HDF5 1.10 cannot convert rightly (8-bit floats but E5M2, packed ones) are stored as bytes.
/// @throws Error as require_hdf5().
PendingFile write_hdf5_rank_file(ParameterStore const& store, Plan const& plan, std::string const& path);

/// The tensors of a rank's HDF5 file and where their bytes lie in it; its metadata are those of a safetensors one.
/// @throws Error io; Error input for a dataset that is no tensor; or as require_hdf5().
FileHeader read_hdf5_rank_file(std::string const& path);

/// The tensors of a rank's file.
/// @throws Error as read_file_header and read_hdf5_rank_file; Error input for one that holds none.
FileHeader read_rank_file(std::string const& path, RankFormat format);

/// Notes in a rank file's header that tell whose it is.
inline constexpr char const* kRankNote = "shardwise.rank";
inline constexpr char const* kWorldNote = "shardwise.world";
inline constexpr char const* kSourceNote = "shardwise.source_digest";

}  // namespace shardwise
