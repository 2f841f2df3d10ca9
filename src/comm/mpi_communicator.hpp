/// @file
/// Communicator over MPI. With the other files of this folder the only place that includes <mpi.h>.
#pragma once

#include <chrono>
#include <deque>
#include <memory>

#include <shardwise/mpi.hpp>

#include "comm/communicator.hpp"
#include "comm/roll_call.hpp"
#include "comm/watch.hpp"
#include "util/handle.hpp"

namespace shardwise {

struct CommTraits {
    using type = MPI_Comm;
    static type null() noexcept { return MPI_COMM_NULL; }
    static void close(type comm) noexcept;  ///< nothing after MPI_Finalize
};
using Comm = UniqueHandle<CommTraits>;

/// Throws Error peer with MPI's text when @p code is not MPI_SUCCESS.
void check_mpi(int code, char const* what);

/// A communicator of one's own over the ranks of @p base, whose errors come back as codes. Collective.
Comm duplicate(MPI_Comm base);

struct MpiOptions {
    std::chrono::seconds deadline{300};
    int pretend_ranks_per_node = 0;  ///< tests only: treat every so many ranks as a node
};

class MpiCommunicator final : public Communicator {
   public:
    /// Works on a duplicate of @p base, whose errors come back as codes. Collective over @p base.
    MpiCommunicator(MPI_Comm base, MpiOptions options);
    ~MpiCommunicator() override;

    int rank() const noexcept override { return rank_; }
    int size() const noexcept override { return size_; }
    NodeLayout const& layout() const noexcept override { return layout_; }

    std::vector<std::vector<std::byte>> all_gather(std::span<std::byte const> bytes) override;
    std::vector<std::byte> broadcast(std::vector<std::byte> bytes, int root) override;
    std::vector<std::uint64_t> sum(std::vector<std::uint64_t> values) override;
    std::unique_ptr<Agreement> start_agreement(std::optional<Errc> failure) override;
    Outcome wait(Agreement& agreement) override;
    void raise_alarm() noexcept override;
    bool is_alarm_raised() override;
    void clear_alarm() override;
    void set_deadline(std::int64_t seconds) override { watch_->set_deadline(std::chrono::seconds(seconds)); }
    [[noreturn]] void leave(Error const& why) override;
    void pause(bool is_first) override;

    MPI_Comm comm() const noexcept { return comm_.get(); }

    /// Ranks that share memory, ordered by rank.
    MPI_Comm node_comm() const noexcept { return node_comm_.get(); }

    /// Waits for a request with all the care of Communicator.
    void wait_for(MPI_Request& request, char const* what);

   private:
    void find_layout(int pretend_ranks_per_node);
    void listen_for_alarm();

    Comm comm_;
    Comm alarm_comm_;  ///< alarms and calls must not match data
    RollCall roll_call_;
    Comm node_comm_;
    int rank_ = 0;
    int size_ = 1;
    NodeLayout layout_;
    std::unique_ptr<Watch> watch_;
    bool has_given_up_ = false;  ///< some wait ended without the others
    MPI_Request alarm_request_ = MPI_REQUEST_NULL;
    int alarm_from_ = -1;
    bool has_raised_alarm_ = false;   ///< this rank
    std::uint64_t alarms_heard_ = 0;  ///< from other ranks
};

}  // namespace shardwise
