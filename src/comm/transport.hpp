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

/// Shared memory and messages. Used from one thread.
///
/// A rank puts what it has read into an outbox, where ranks that share memory with it take what they need; to the
/// others it sends messages. Outboxes are copies on purpose: storage writes fastest to a process' own memory on huge
/// pages, which shared windows are not.
class Transport {
   public:
    virtual ~Transport() = default;

    /// "self", "shm", "mpi", or "shm+mpi" where both are at work.
    virtual std::string name() const = 0;

    /// True if @p rank is another rank and can look into this rank's outboxes, and the other way round.
    virtual bool shares_memory_with(int rank) const noexcept = 0;

    /// This rank's outbox @p index; empty if nobody shares memory with it.
    virtual std::span<std::byte> outbox(std::uint32_t index) noexcept = 0;

    /// The outbox of a rank that shares memory.
    virtual std::span<std::byte const> outbox_of(int rank, std::uint32_t index) const noexcept = 0;

    /// Makes outboxes that were filled visible. Called on both sides of the agreement that all have filled theirs.
    virtual void synchronize() = 0;

    /// Queues a message; memory stays in use until is_idle(). Messages between two ranks arrive in the order sent.
    virtual void send(int rank, std::span<std::byte const> bytes) = 0;
    virtual void receive(int rank, std::span<std::byte> into, std::uint64_t id) = 0;

    /// The same for bytes that all ranks get from one: all ranks queue the same broadcasts, and nothing else, before
    /// start(). Those that share memory with the sender do not call receive_broadcast().
    /// @param to the ranks that do not.
    virtual void broadcast(std::span<int const> to, std::span<std::byte const> bytes) {
        for (auto const rank : to) { send(rank, bytes); }
    }
    virtual void receive_broadcast(int rank, std::span<std::byte> into, std::uint64_t id) { receive(rank, into, id); }

    /// Lets everything go that was queued; whoever queues calls it before the next poll().
    virtual void start() {}

    /// Appends ids of messages that have arrived whole, and moves things on.
    virtual void poll(std::vector<std::uint64_t>& received) = 0;

    /// True when every message that was queued has gone out or come in.
    virtual bool is_idle() const noexcept = 0;

    /// Gives up what is under way, without the other ranks: some may be gone. Nothing else is called after it.
    virtual void abort() noexcept {}

    /// Memory of the host that counts as this process': outboxes, its own and those it looks into, rooms for messages.
    virtual std::uint64_t staging_bytes() const noexcept = 0;
};

/// The outboxes of every rank.
struct OutboxSpec {
    std::uint32_t count = 0;
    std::uint64_t bytes = 0;  ///< each, a multiple of a page; the same on all ranks
};

/// One rank: nobody to share with.
std::unique_ptr<Transport> make_self_transport();

/// Shared windows inside a node and messages between nodes; only messages if asked for, or if the shared memory file
/// system has no room. Collective.
/// @param note why shared memory is not used although it could be; empty otherwise.
/// @throws Error unavailable when @p choice is shm and some rank cannot be reached that way.
std::unique_ptr<Transport> make_mpi_transport(Communicator& communicator, OutboxSpec outboxes, TransportChoice choice,
                                              std::string& note);

}  // namespace shardwise
