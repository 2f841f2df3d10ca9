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

/// Whom a message goes to or comes from, and on which channel.
struct Peer {
    int rank = 0;
    std::uint32_t channel = 0;
};

/// Shared memory and messages. Used from one thread.
///
/// A rank puts what it has read into its seat of an outbox, where ranks that share memory with it take what they need;
/// to the others go messages. Outboxes are copies on purpose: storage writes fastest to a process' own memory on huge
/// pages, which shared windows are not.
class Transport {
   public:
    virtual ~Transport() = default;

    /// "self" where nothing crosses ranks, "shm", "mpi", or "shm+mpi" where both are at work.
    virtual std::string name() const = 0;

    /// True if these two, any ranks of the job, look into the same outboxes.
    virtual bool share_memory(int a, int b) const noexcept = 0;

    /// Seat @p seat of outbox @p index, which the ranks that share memory with this one share; empty if nobody does.
    virtual std::span<std::byte> outbox(std::uint32_t index, std::uint32_t seat) noexcept = 0;

    /// Makes outboxes that were filled visible. Called on both sides of the agreement that all have filled theirs.
    virtual void synchronize() = 0;

    /// Messages of different channels never meet; each keeps the order of its own.
    virtual std::uint32_t channels() const noexcept { return 1; }

    /// Queues a message; memory stays in use until the channel is idle. Messages between two ranks arrive in the order
    /// sent.
    virtual void send(Peer to, std::span<std::byte const> bytes) = 0;
    virtual void receive(Peer from, std::span<std::byte> into, std::uint64_t id) = 0;

    /// Whether one call brings bytes from one rank to all others.
    virtual bool has_broadcast() const noexcept { return false; }

    /// Only where there is such a call: all ranks queue the same broadcasts, and nothing else, before start().
    virtual void broadcast(std::span<std::byte const>) {}
    virtual void receive_broadcast(int, std::span<std::byte>, std::uint64_t) {}

    /// Lets everything go that was queued; whoever queues calls it before the next poll().
    virtual void start() {}

    /// Appends ids of messages that have arrived whole, and moves things on.
    virtual void poll(std::vector<std::uint64_t>& received) = 0;

    /// True when every message that was queued has gone out or come in.
    virtual bool is_idle() const noexcept = 0;

    /// The same of one channel.
    virtual bool is_idle_on(std::uint32_t) const noexcept { return is_idle(); }

    /// Gives up what is under way, without the other ranks: some may be gone. Nothing else is called after it.
    virtual void abort() noexcept {}

    /// Memory of the host that counts as this process': outboxes and rooms for messages.
    virtual std::uint64_t staging_bytes() const noexcept = 0;
};

/// The outboxes of a node; the same on all.
struct OutboxSpec {
    std::uint32_t count = 0;
    std::uint32_t seats = 0;  ///< in each
    std::uint64_t bytes = 0;  ///< of a seat, a multiple of a page
    std::uint64_t total_bytes() const noexcept { return std::uint64_t{count} * seats * bytes; }
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
