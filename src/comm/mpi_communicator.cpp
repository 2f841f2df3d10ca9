#include "comm/mpi_communicator.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include <fmt/format.h>

namespace shardwise {
namespace {

constexpr int kAlarmTag = 1;
constexpr std::int64_t kNoFailure = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kCodes = 256;  ///< failure = rank * kCodes + code, so the least one is the lowest rank's

/// Counts in MPI are int; control messages are far below that.
int int_count(std::size_t bytes) {
    if (bytes > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
        throw Error(Errc::input, fmt::format("a control message of {} B is too long", bytes));
    }
    return static_cast<int>(bytes);
}

class MpiAgreement final : public Agreement {
   public:
    MpiAgreement(MPI_Comm comm, std::int64_t own) : values_(std::make_unique<Values>(Values{own, kNoFailure})) {
        check_mpi(MPI_Iallreduce(&values_->own, &values_->least, 1, MPI_INT64_T, MPI_MIN, comm, &request_),
                  "join an agreement");
    }
    MpiAgreement(MpiAgreement const&) = delete;
    MpiAgreement& operator=(MpiAgreement const&) = delete;

    /// MPI still writes into the values of an agreement that somebody has given up waiting for.
    ~MpiAgreement() override {
        if (request_ != MPI_REQUEST_NULL) { static_cast<void>(values_.release()); }
    }

    std::optional<Outcome> test() override {
        int is_done = 0;
        check_mpi(MPI_Test(&request_, &is_done, MPI_STATUS_IGNORE), "agree with the other ranks");
        if (is_done == 0) { return std::nullopt; }
        auto const least = values_->least;
        if (least == kNoFailure) { return Outcome{}; }
        return Outcome{static_cast<int>(least / kCodes), static_cast<Errc>(least % kCodes)};
    }

   private:
    struct Values {
        std::int64_t own;
        std::int64_t least;
    };
    std::unique_ptr<Values> values_;
    MPI_Request request_ = MPI_REQUEST_NULL;
};

}  // namespace

void CommTraits::close(type comm) noexcept {
    int is_finalized = 0;
    MPI_Finalized(&is_finalized);
    if (is_finalized == 0) { MPI_Comm_free(&comm); }
}

void check_mpi(int code, char const* what) {
    if (code == MPI_SUCCESS) { return; }
    std::array<char, MPI_MAX_ERROR_STRING> text = {};
    int length = 0;
    MPI_Error_string(code, text.data(), &length);
    throw Error(Errc::peer,
                fmt::format("{}: {}", what, std::string_view(text.data(), static_cast<std::size_t>(length))));
}

Comm duplicate(MPI_Comm base) {
    MPI_Comm raw = MPI_COMM_NULL;
    check_mpi(MPI_Comm_dup(base, &raw), "duplicate the communicator");
    MPI_Comm_set_errhandler(raw, MPI_ERRORS_RETURN);
    return Comm(raw);
}

MpiCommunicator::MpiCommunicator(MPI_Comm base, MpiOptions options)
    : comm_(duplicate(base)), alarm_comm_(duplicate(base)), roll_call_(alarm_comm_.get()) {
    MPI_Comm_rank(comm_.get(), &rank_);
    MPI_Comm_size(comm_.get(), &size_);
    find_layout(options.pretend_ranks_per_node);

    auto const self = describe_self(rank_);
    std::vector<NodePeer> everyone(static_cast<std::size_t>(size_));
    check_mpi(MPI_Allgather(&self, sizeof(self), MPI_BYTE, everyone.data(), sizeof(self), MPI_BYTE, comm_.get()),
              "gather process numbers");
    std::vector<NodePeer> neighbours;
    for (auto const rank : layout_.neighbours) { neighbours.push_back(everyone[static_cast<std::size_t>(rank)]); }
    watch_ = std::make_unique<Watch>(std::move(neighbours), rank_, options.deadline);
    listen_for_alarm();
}

MpiCommunicator::~MpiCommunicator() {
    int is_finalized = 0;
    MPI_Finalized(&is_finalized);
    if (has_given_up_) {
        // A collective is still under way; a communicator cannot be freed below it.
        for (auto* comm : {&comm_, &alarm_comm_, &node_comm_}) { static_cast<void>(comm->release()); }
        return;
    }
    if (is_finalized != 0 || alarm_request_ == MPI_REQUEST_NULL) { return; }
    MPI_Cancel(&alarm_request_);
    MPI_Wait(&alarm_request_, MPI_STATUS_IGNORE);
}

void MpiCommunicator::find_layout(int pretend_ranks_per_node) {
    MPI_Comm raw = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split_type(comm_.get(), MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &raw),
              "find the ranks of this node");
    node_comm_.reset(raw);
    if (pretend_ranks_per_node > 0) {
        check_mpi(MPI_Comm_split(comm_.get(), rank_ / pretend_ranks_per_node, rank_, &raw),
                  "split into pretended nodes");
        node_comm_.reset(raw);
    }
    MPI_Comm_set_errhandler(node_comm_.get(), MPI_ERRORS_RETURN);

    // A node is known by its lowest rank.
    int leader = rank_;
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, &leader, 1, MPI_INT, MPI_MIN, node_comm_.get()),
              "find the node's lowest rank");
    std::vector<int> leaders(static_cast<std::size_t>(size_));
    check_mpi(MPI_Allgather(&leader, 1, MPI_INT, leaders.data(), 1, MPI_INT, comm_.get()), "gather the nodes");
    auto distinct = leaders;
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    layout_.node_count = static_cast<std::uint32_t>(distinct.size());
    for (int rank = 0; rank < size_; ++rank) {
        auto const its_leader = leaders[static_cast<std::size_t>(rank)];
        layout_.node_of.push_back(static_cast<std::uint32_t>(
            std::lower_bound(distinct.begin(), distinct.end(), its_leader) - distinct.begin()));
        if (its_leader == leader) { layout_.neighbours.push_back(rank); }
    }
}

void MpiCommunicator::listen_for_alarm() {
    check_mpi(MPI_Irecv(&alarm_from_, 1, MPI_INT, MPI_ANY_SOURCE, kAlarmTag, alarm_comm_.get(), &alarm_request_),
              "listen for an alarm");
}

void MpiCommunicator::pause(bool is_first) {
    if (is_first) { watch_->begin(); }
    bool is_too_long = false;
    try {
        is_too_long = watch_->pause();
    } catch (Error const& error) { leave(error); }
    try {
        roll_call_.answer();
        if (is_too_long) { roll_call_.call(watch_->deadline()); }
    } catch (Error const&) {
        has_given_up_ = true;
        throw;
    }
}

void MpiCommunicator::leave(Error const& why) {
    has_given_up_ = true;
    roll_call_.leave(why);
}

void MpiCommunicator::wait_for(MPI_Request& request, char const* what) {
    for (bool is_first = true;; is_first = false) {
        int is_done = 0;
        check_mpi(MPI_Test(&request, &is_done, MPI_STATUS_IGNORE), what);
        if (is_done != 0) { return; }
        pause(is_first);
    }
}

namespace {

/// Memory that MPI works on. When a wait is given up it stays MPI's for good.
template <class Memory, class Wait>
void wait_with(std::unique_ptr<Memory>& memory, Wait wait) {
    try {
        wait();
    } catch (Error const&) {
        static_cast<void>(memory.release());
        throw;
    }
}

struct Gathered {
    int own_count = 0;
    std::vector<std::byte> own;
    std::vector<int> counts;
    std::vector<int> offsets;
    std::vector<std::byte> all;
};

}  // namespace

std::vector<std::vector<std::byte>> MpiCommunicator::all_gather(std::span<std::byte const> bytes) {
    auto g = std::make_unique<Gathered>();
    g->own_count = int_count(bytes.size());
    g->own.assign(bytes.begin(), bytes.end());
    g->counts.resize(static_cast<std::size_t>(size_));
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Iallgather(&g->own_count, 1, MPI_INT, g->counts.data(), 1, MPI_INT, comm_.get(), &request),
              "gather sizes");
    wait_with(g, [&] { wait_for(request, "gather sizes"); });

    std::size_t total = 0;
    for (int const count : g->counts) {
        g->offsets.push_back(int_count(total));
        total += static_cast<std::size_t>(count);
    }
    int_count(total);
    g->all.resize(total);
    check_mpi(MPI_Iallgatherv(g->own.data(), g->own_count, MPI_BYTE, g->all.data(), g->counts.data(),
                              g->offsets.data(), MPI_BYTE, comm_.get(), &request),
              "gather messages");
    wait_with(g, [&] { wait_for(request, "gather messages"); });

    std::vector<std::vector<std::byte>> result;
    for (std::size_t rank = 0; rank < g->counts.size(); ++rank) {
        auto const begin = g->all.begin() + g->offsets[rank];
        result.emplace_back(begin, begin + g->counts[rank]);
    }
    return result;
}

std::vector<std::byte> MpiCommunicator::broadcast(std::vector<std::byte> bytes, int root) {
    auto size = std::make_unique<std::uint64_t>(bytes.size());
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibcast(size.get(), 1, MPI_UINT64_T, root, comm_.get(), &request), "broadcast a size");
    wait_with(size, [&] { wait_for(request, "broadcast a size"); });
    auto message = std::make_unique<std::vector<std::byte>>(std::move(bytes));
    message->resize(*size);
    check_mpi(MPI_Ibcast(message->data(), int_count(*size), MPI_BYTE, root, comm_.get(), &request),
              "broadcast a message");
    wait_with(message, [&] { wait_for(request, "broadcast a message"); });
    return std::move(*message);
}

std::vector<std::uint64_t> MpiCommunicator::sum(std::vector<std::uint64_t> values) {
    auto sums = std::make_unique<std::vector<std::uint64_t>>(std::move(values));
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Iallreduce(MPI_IN_PLACE, sums->data(), int_count(sums->size()), MPI_UINT64_T, MPI_SUM, comm_.get(),
                             &request),
              "sum over the ranks");
    wait_with(sums, [&] { wait_for(request, "sum over the ranks"); });
    return std::move(*sums);
}

std::unique_ptr<Agreement> MpiCommunicator::start_agreement(std::optional<Errc> failure) {
    auto const own = failure ? rank_ * kCodes + static_cast<std::int64_t>(*failure) : kNoFailure;
    return std::make_unique<MpiAgreement>(comm_.get(), own);
}

Outcome MpiCommunicator::wait(Agreement& agreement) {
    for (bool is_first = true;; is_first = false) {
        if (auto const outcome = agreement.test()) { return *outcome; }
        pause(is_first);
    }
}

void MpiCommunicator::raise_alarm() noexcept {
    if (has_raised_alarm_) { return; }
    has_raised_alarm_ = true;
    for (int rank = 0; rank < size_; ++rank) {
        if (rank == rank_) { continue; }
        MPI_Request request = MPI_REQUEST_NULL;
        if (MPI_Isend(&rank_, 1, MPI_INT, rank, kAlarmTag, alarm_comm_.get(), &request) == MPI_SUCCESS) {
            MPI_Request_free(&request);
        }
    }
}

bool MpiCommunicator::is_alarm_raised() {
    if (has_raised_alarm_ || alarms_heard_ > 0) { return true; }
    int is_done = 0;
    check_mpi(MPI_Test(&alarm_request_, &is_done, MPI_STATUS_IGNORE), "listen for an alarm");
    if (is_done == 0) { return false; }
    ++alarms_heard_;
    listen_for_alarm();
    return true;
}

/// Alarms may still be on their way; each rank waits for as many as the others have sent.
void MpiCommunicator::clear_alarm() {
    std::uint64_t const own = has_raised_alarm_ ? 1 : 0;
    auto const from_others = sum({own}).front() - own;
    for (; alarms_heard_ < from_others; ++alarms_heard_) {
        wait_for(alarm_request_, "wait for an alarm");
        listen_for_alarm();
    }
    alarms_heard_ = 0;
    has_raised_alarm_ = false;
}

}  // namespace shardwise
