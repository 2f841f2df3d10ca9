/// @file
/// Back ends that can be asked for by name; an explicit choice that cannot be had is an error, automatic falls back.
#pragma once

#include <cstdint>

namespace shardwise {

/// How files are read; automatic decides file by file. gds reads into the memory of a GPU only.
enum class ReaderChoice : std::uint8_t { automatic, mmap, uring, pread, gds };

/// How bytes cross ranks; automatic shares memory inside a node and sends messages between nodes.
enum class TransportChoice : std::uint8_t { automatic, shm, mpi };

}  // namespace shardwise
