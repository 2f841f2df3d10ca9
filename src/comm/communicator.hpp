/// @file
/// The ranks of a job: control messages and agreement. Data goes through transports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <shardwise/error.hpp>

namespace shardwise {

/// Which ranks share a machine; from MPI, never guessed.
struct NodeLayout {
    std::vector<std::uint32_t> node_of;   ///< node number of every rank
    std::vector<std::int32_t> neighbours; ///< ranks of this rank's node, this one included, in order
    std::uint32_t node_count = 1;
};

/// How a step ended over all ranks.
struct Outcome {
    int failed_rank = -1;  ///< lowest rank that failed; -1 if none did
    Errc code = Errc::input;
    bool is_ok() const noexcept { return failed_rank < 0; }
};

/// An agreement under way. Every rank must start it; it is done when all have.
class Agreement {
   public:
    virtual ~Agreement() = default;

    /// The outcome, once every rank has joined.
    virtual std::optional<Outcome> test() = 0;
};

/// Calls are collective unless said otherwise, and made in the same order by all ranks from one thread.
/// Every wait ends: with Error peer when a rank is gone or the deadline passes (see Watch).
class Communicator {
   public:
    virtual ~Communicator() = default;

    virtual int rank() const noexcept = 0;
    virtual int size() const noexcept = 0;
    virtual NodeLayout const& layout() const noexcept = 0;

    /// What every rank gives, by rank.
    virtual std::vector<std::vector<std::byte>> all_gather(std::span<std::byte const> bytes) = 0;

    /// What rank @p root gives; @p bytes of other ranks is ignored.
    virtual std::vector<std::byte> broadcast(std::vector<std::byte> bytes, int root) = 0;

    /// Sums over all ranks, element by element, modulo 2^64; every rank gives as many.
    virtual std::vector<std::uint64_t> sum(std::vector<std::uint64_t> values) = 0;

    /// Joins an agreement with this rank's failure, if it has one, and does not wait.
    virtual std::unique_ptr<Agreement> start_agreement(std::optional<Errc> failure) = 0;

    /// Waits for an agreement.
    virtual Outcome wait(Agreement& agreement) = 0;

    /// Tells all ranks, at once and without their help, that this one has failed and that they should come to the next
    /// agreement without finishing what they do. Not collective.
    virtual void raise_alarm() noexcept = 0;

    /// True once any rank has raised the alarm. Not collective, cheap.
    virtual bool is_alarm_raised() = 0;

    /// Forgets every alarm raised so far, so that the ranks can work together again. To be called by all ranks once
    /// they have agreed on the failure.
    virtual void clear_alarm() = 0;

    /// Longest wait from now on. Not collective.
    virtual void set_deadline(std::int64_t seconds) = 0;

    /// Ends the work with the other ranks without their help, because of @p why, and tells them; those that wait end,
    /// too. Not collective.
    /// @throws Error as @p why, its rank being the one of all that leave which is to say so: where several leave at the
    ///         same time it is the lowest of them, and who comes later hears that the word has been taken.
    [[noreturn]] virtual void leave(Error const& why) = 0;

    /// One step of a caller's own waiting loop: throws as every wait does. Not collective.
    virtual void pause(bool is_first) = 0;
};

/// One process, no MPI.
std::unique_ptr<Communicator> make_self_communicator();

/// The exception being handled as an Error: memory for bad_alloc, io for file system trouble.
/// To be called in a catch block.
Error current_error();

/// Throws the failed rank's error on every rank. @p own is this rank's error, if it has one.
[[noreturn]] void throw_failure(Communicator& communicator, Outcome outcome, std::optional<Error> const& own);

/// Throws Error peer if the launcher has asked this process to end. What is called by together() may do so, too.
void end_if_asked();

/// True for what end_if_asked throws: nobody has been told of it yet.
bool is_asked_to_end(Error const& error) noexcept;

/// Runs @p work on every rank; if it fails on any, all throw the error of the lowest rank that failed. A job that is
/// asked to end does so here, before the next step: what has no final name yet never gets one.
template <class Work>
void together(Communicator& communicator, Work&& work) {
    std::optional<Error> error;
    try {
        work();
        end_if_asked();
    } catch (...) { error = current_error(); }
    if (error && is_asked_to_end(*error)) { communicator.leave(*error); }
    auto const agreement = communicator.start_agreement(error ? std::optional(error->code()) : std::nullopt);
    auto const outcome = communicator.wait(*agreement);
    if (!outcome.is_ok()) { throw_failure(communicator, outcome, error); }
}

}  // namespace shardwise
