/// @file
/// Where the tensors of a load lie, and what works there: memory, readers, transport and placer that fit together.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <shardwise/back_ends.hpp>
#include <shardwise/materialize.hpp>
#include <shardwise/plan.hpp>

#include "comm/communicator.hpp"
#include "comm/transport.hpp"
#include "convert/place.hpp"
#include "device/accelerator.hpp"
#include "exec/placer.hpp"
#include "io/reader_set.hpp"

namespace shardwise {

/// What a load takes out of one pool of memory, which other ranks may take from, too.
struct MemoryNeed {
    std::string pool;   ///< tells it from other pools; the same on all ranks that share it
    std::string owner;  ///< for people. Example: "this node"
    std::uint64_t needed_bytes = 0;
    std::uint64_t available_bytes = 0;
};

class LoadBackend {
   public:
    virtual ~LoadBackend() = default;

    /// The GPU whose memory the tensors lie in; null if it is the host's.
    virtual std::shared_ptr<Accelerator> accelerator() const { return nullptr; }

    /// What this rank is going to take.
    virtual std::vector<MemoryNeed> memory_needs(Plan const& plan) const = 0;

    /// One stretch for all tensors.
    /// @throws Error memory.
    virtual Memory allocate_arena(std::uint64_t size_bytes) = 0;

    /// Memory of one tensor among many.
    /// @throws Error memory.
    virtual Memory allocate_tensor(std::uint64_t size_bytes) = 0;

    /// Memory that readers fill, the placer takes from, and messages lie in.
    /// @throws Error memory.
    virtual Memory allocate_staging(std::uint64_t size_bytes) = 0;

    /// Collective.
    /// @param notes what was chosen instead of something better, one sentence each, are appended.
    /// @throws Error unavailable, on every rank, for a choice that cannot be had.
    virtual std::unique_ptr<Transport> make_transport(Plan const& plan, TransportChoice choice,
                                                      std::vector<std::string>& notes) = 0;

    /// @param reason why it has as many threads is put there.
    virtual std::unique_ptr<Placer> make_placer(Plan const& plan, TensorSpans tensors, Scalings scalings,
                                                LoadOptions const& options, std::string& reason) = 0;

    /// @param staging all that they are going to be asked to fill, as allocate_staging() gave it.
    /// @throws Error unavailable for a choice that cannot be had.
    virtual std::unique_ptr<ReaderSet> make_readers(Plan const& plan, LoadOptions const& options,
                                                    Memory const& staging) = 0;
};

/// Tensors in the memory of the host.
std::unique_ptr<LoadBackend> make_host_backend(Communicator& communicator);

/// Tensors in the memory of a GPU.
/// @param gds for GPUDirect Storage, must outlive the back end; null: the one of this process.
std::unique_ptr<LoadBackend> make_gpu_backend(Communicator& communicator, std::shared_ptr<Accelerator> accelerator,
                                              GdsDriver const* gds = nullptr);

}  // namespace shardwise
