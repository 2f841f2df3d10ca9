/// @file
/// Back ends that can be asked for by name; an explicit choice that cannot be had is an error, automatic falls back.
#pragma once

#include <cstdint>

namespace shardwise {

/// Where the tensors of a load lie.
enum class Device : std::uint8_t { host, cuda };
char const* to_string(Device device) noexcept;

/// How files are read; automatic decides file by file. gds reads into the memory of a GPU only.
enum class ReaderChoice : std::uint8_t { automatic, mmap, uring, pread, gds };

/// How bytes cross ranks. Automatic: on the host, memory shared inside a node and messages between nodes; between GPUs
/// NCCL, and messages through the host where it cannot connect them.
enum class TransportChoice : std::uint8_t { automatic, shm, mpi, nccl };

}  // namespace shardwise
