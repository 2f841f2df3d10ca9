/// @file
/// The seam between the executor and the wires: moves bytes between ranks, never typed elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <shardwise/back_ends.hpp>

#include "comm/communicator.hpp"

namespace shardwise {

/// Slots that reads land in, and messages. Used from one thread.
class Transport {
   public:
    virtual ~Transport() = default;

    /// "self", "shm", "mpi", or "shm+mpi" where both are at work.
    virtual std::string name() const = 0;

    /// This rank's slot @p index; begins on a page.
    virtual std::span<std::byte> slot(std::uint32_t index) noexcept = 0;

    /// True if slot_of() works for that rank; otherwise its bytes come as messages.
    virtual bool shares_memory_with(int rank) const noexcept = 0;
    virtual std::span<std::byte const> slot_of(int rank, std::uint32_t index) const noexcept = 0;

    /// Makes slots that were filled visible to, respectively from, ranks that share memory. Called on both sides of the
    /// agreement that all have filled theirs.
    virtual void synchronize() = 0;

    /// Starts a message; memory stays in use until is_idle(). Messages between two ranks arrive in the order sent.
    virtual void send(int rank, std::span<std::byte const> bytes) = 0;
    virtual void receive(int rank, std::span<std::byte> into, std::uint64_t id) = 0;

    /// Appends ids of messages that have arrived whole, and moves things on.
    virtual void poll(std::vector<std::uint64_t>& received) = 0;

    /// True when every message that was started has gone out or come in.
    virtual bool is_idle() const noexcept = 0;

    /// Bytes of slots that count as this process' own resident memory: its own, and neighbours' that it reads.
    virtual std::uint64_t slot_memory_bytes() const noexcept = 0;
};

struct SlotSpec {
    std::uint32_t count = 0;
    std::uint64_t bytes = 0;  ///< each, a multiple of a page; the same on all ranks
};

/// One rank: its own slots, no messages.
std::unique_ptr<Transport> make_self_transport(SlotSpec slots);

/// Shared windows inside a node and messages between nodes; only messages if asked for, or if the shared memory file
/// system has no room. Collective.
/// @param note why shared memory is not used although it could be; empty otherwise.
/// @throws Error unavailable when @p choice is shm and some rank cannot be reached that way.
std::unique_ptr<Transport> make_mpi_transport(Communicator& communicator, SlotSpec slots, TransportChoice choice, std::string& note);

}  // namespace shardwise
