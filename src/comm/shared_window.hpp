/// @file
/// Memory that the ranks of a node share (MPI-3 shared windows).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/mpi_communicator.hpp"

namespace shardwise {

/// Every rank of a node gives a part of the same size; each sees all parts.
class SharedWindow {
   public:
    /// Collective over the node. Parts begin on a page.
    SharedWindow(MPI_Comm node_comm, std::uint64_t part_bytes);
    SharedWindow(SharedWindow const&) = delete;
    SharedWindow& operator=(SharedWindow const&) = delete;
    ~SharedWindow();

    std::span<std::byte> part(int node_rank) const noexcept { return parts_[static_cast<std::size_t>(node_rank)]; }
    std::size_t part_count() const noexcept { return parts_.size(); }

    /// Memory barrier between processes.
    void synchronize();

   private:
    MPI_Win window_ = MPI_WIN_NULL;
    std::vector<std::span<std::byte>> parts_;
};

/// Why a window of @p total_bytes cannot be had on this node; empty if it can. The files behind windows lie in
/// /dev/shm, which containers often make small; writing past its end is a signal, so it is looked at first.
std::string shared_memory_obstacle(std::uint64_t total_bytes);

}  // namespace shardwise
