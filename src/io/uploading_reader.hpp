/// @file
/// A reader of host memory made one of a GPU's memory: ranges are read into a small ring of pinned buffers, and copied
/// from there while others are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "device/accelerator.hpp"
#include "io/reader.hpp"

namespace shardwise {

/// The ring of pinned memory, `buffers * buffer_bytes` in all.
struct UploadOptions {
    std::size_t buffers = 8;
    std::uint64_t buffer_bytes = 16ULL << 20U;  ///< a multiple of kSlotAlignment; no request may cover more pages
};

/// Requests' `into` are memory of @p accelerator, and so is the data of results, which is all there when they are
/// polled. Nothing but the range's bytes is written. Copies go on beside each other and beside reads; a failing
/// accelerator ends every request as Error io. Counters are those of @p inner.
///
/// One that goes away waits for reads and copies under way.
/// @throws Error memory if the ring cannot be had.
std::unique_ptr<Reader> make_uploading_reader(std::unique_ptr<Reader> inner, Accelerator& accelerator,
                                              UploadOptions options);

}  // namespace shardwise
