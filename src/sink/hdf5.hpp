/// @file
/// HDF5 objects that close themselves, and its failures as exceptions. The only place that includes <hdf5.h>.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>
#include <hdf5.h>

#include <shardwise/error.hpp>

#include "util/handle.hpp"

namespace shardwise {

template <herr_t (*Close)(hid_t)>
struct HidTraits {
    using type = hid_t;
    static type null() noexcept { return H5I_INVALID_HID; }
    static void close(type id) noexcept { Close(id); }
};
template <herr_t (*Close)(hid_t)>
using Hid = UniqueHandle<HidTraits<Close>>;

using FileId = Hid<H5Fclose>;
using DatasetId = Hid<H5Dclose>;
using SpaceId = Hid<H5Sclose>;
using TypeId = Hid<H5Tclose>;
using PropertiesId = Hid<H5Pclose>;
using AttributeId = Hid<H5Aclose>;
using ObjectId = Hid<H5Oclose>;

/// Empties the error stack of HDF5 and gives the system's words in it, on one line.
std::string take_hdf5_error();

/// HDF5 returns a negative number for failure.
template <class Result>
Result check(Result result, std::string_view what) {
    if (result >= 0) { return result; }
    throw Error(Errc::io, fmt::format("HDF5: {}: {}", what, take_hdf5_error()));
}

}  // namespace shardwise
