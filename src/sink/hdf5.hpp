/// @file
/// HDF5's functions, found when a file of it is first written or read; objects that close themselves, and failures as
/// exceptions. The only place that includes <hdf5.h>.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>
#include <hdf5.h>

#include <shardwise/error.hpp>

#include "util/handle.hpp"
#include "util/shared_library.hpp"

// clang-format off
/// Names are macros where HDF5 has several versions of a function; the newest one that the header knows is meant then.
#define SHARDWISE_HDF5_FUNCTIONS(X) \
    X(H5Aclose) X(H5Acreate2) X(H5Aget_space) X(H5Aget_type) X(H5Aopen) X(H5Aread) X(H5Awrite) \
    X(H5Dclose) X(H5Dcreate2) X(H5Dget_offset) X(H5Dget_storage_size) X(H5Dwrite) \
    X(H5Eclear2) X(H5Eset_auto2) X(H5Ewalk2) \
    X(H5Fclose) X(H5Fcreate) X(H5Fopen) \
    X(H5Iget_type) X(H5Lvisit) X(H5Oclose) X(H5Oopen) X(H5open) \
    X(H5Pclose) X(H5Pcreate) X(H5Pset_alignment) X(H5Pset_alloc_time) X(H5Pset_create_intermediate_group) \
    X(H5Pset_fill_time) X(H5Pset_layout) \
    X(H5Sclose) X(H5Screate) X(H5Screate_simple) X(H5Sget_simple_extent_npoints) \
    X(H5Tclose) X(H5Tcopy) X(H5Tget_size) X(H5Tset_cset) X(H5Tset_ebias) X(H5Tset_fields) X(H5Tset_precision) \
    X(H5Tset_size)
// clang-format on

namespace shardwise {

/// A program that is linked with HDF5 carries all that HDF5 is linked with, which for Debian's are the libraries of
/// curl: some 5 MiB of every rank, for a format that few ask for.
struct Hdf5Library {
    explicit Hdf5Library(std::string name);

    /// A number that HDF5 keeps in a variable. Examples: "H5T_STD_I8LE_g", "H5P_CLS_FILE_ACCESS_ID_g".
    hid_t id(char const* variable) const;

    SharedLibrary library;
#define SHARDWISE_DECLARE(function) decltype(&::function) function;
    SHARDWISE_HDF5_FUNCTIONS(SHARDWISE_DECLARE)
#undef SHARDWISE_DECLARE
};

/// H5F_ACC_RDONLY and H5F_ACC_TRUNC, which are macros that call functions.
inline constexpr unsigned kReadOnly = 0;
inline constexpr unsigned kTruncate = 2;

/// The library that the build found, opened once for the whole process.
/// @throws Error unavailable with the loader's words.
Hdf5Library const& hdf5();

template <auto Close>
struct HidTraits {
    using type = hid_t;
    static type null() noexcept { return H5I_INVALID_HID; }
    static void close(type id) noexcept { (hdf5().*Close)(id); }
};
template <auto Close>
using Hid = UniqueHandle<HidTraits<Close>>;

using FileId = Hid<&Hdf5Library::H5Fclose>;
using DatasetId = Hid<&Hdf5Library::H5Dclose>;
using SpaceId = Hid<&Hdf5Library::H5Sclose>;
using TypeId = Hid<&Hdf5Library::H5Tclose>;
using PropertiesId = Hid<&Hdf5Library::H5Pclose>;
using AttributeId = Hid<&Hdf5Library::H5Aclose>;
using ObjectId = Hid<&Hdf5Library::H5Oclose>;

/// Empties the error stack of HDF5 and gives the system's words in it, on one line.
std::string take_hdf5_error();

/// HDF5 returns a negative number for failure.
template <class Result>
Result check(Result result, std::string_view what) {
    if (result >= 0) { return result; }
    throw Error(Errc::io, fmt::format("HDF5: {}: {}", what, take_hdf5_error()));
}

}  // namespace shardwise
