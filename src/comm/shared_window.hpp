/// @file
/// Memory that the ranks of a node share (MPI-3 shared windows).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "comm/mpi_communicator.hpp"

namespace shardwise {

/// Memory that every rank of a node sees. Its pages lie where they are first written from.
class SharedWindow {
   public:
    /// Collective over the node. The memory begins on a page.
    SharedWindow(MPI_Comm node_comm, std::uint64_t size_bytes);
    SharedWindow(SharedWindow const&) = delete;
    SharedWindow& operator=(SharedWindow const&) = delete;
    ~SharedWindow();

    std::span<std::byte> bytes() const noexcept { return bytes_; }

    /// Memory barrier between processes.
    void synchronize();

   private:
    MPI_Win window_ = MPI_WIN_NULL;
    std::span<std::byte> bytes_;
};

/// Why a window of @p total_bytes cannot be had on this node; empty if it can. The files behind windows lie in
/// /dev/shm, which containers often make small; writing past its end is a signal, so it is looked at first.
std::string shared_memory_obstacle(std::uint64_t total_bytes);

}  // namespace shardwise
