#include "comm/nccl_transport.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "comm/nccl_library.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

/// The first version that lets ranks share a GPU, if the user says so; it is made for two.
constexpr int kSharedGpuVersion = NCCL_VERSION(2, 30, 0);
constexpr std::size_t kMostSharing = 2;
constexpr char const* kSharingVariable = "NCCL_MULTI_RANK_GPU_ENABLE";

/// What a rank tells of itself before anybody connects.
struct Candidate {
    std::string obstacle;
    std::int64_t version = 0;
    std::string gpu;
    bool allows_sharing = false;
};

Candidate describe_own(Accelerator const& accelerator, Stream const& stream) {
    Candidate own;
    own.gpu = accelerator.uuid();
    auto const* const sharing = std::getenv(kSharingVariable);
    own.allows_sharing = sharing != nullptr && std::string_view(sharing) == "1";
    try {
        own.version = NcclLibrary::get().version();
    } catch (Error const& error) { own.obstacle = error.what(); }
    if (stream.native() == nullptr) { own.obstacle = fmt::format("{} is none", accelerator.describe()); }
    return own;
}

std::vector<Candidate> gather(Communicator& communicator, Candidate const& own) {
    WireWriter out;
    out.put(own.obstacle);
    out.put(own.version);
    out.put(own.gpu);
    out.put(own.allows_sharing);
    std::vector<Candidate> all;
    for (auto const& message : communicator.all_gather(out.take())) {
        WireReader in(message);
        all.emplace_back();
        all.back().obstacle = in.get_text();
        all.back().version = in.get<std::int64_t>();
        all.back().gpu = in.get_text();
        all.back().allows_sharing = in.get<bool>();
    }
    return all;
}

std::string sharing_obstacle(std::string const& gpu, std::vector<std::size_t> const& ranks,
                             std::vector<Candidate> const& all) {
    auto const& one = all[ranks.front()];
    bool const is_allowed =
        one.version >= kSharedGpuVersion && one.allows_sharing && ranks.size() <= kMostSharing;
    if (ranks.size() == 1 || is_allowed) { return {}; }
    return fmt::format("ranks {} share {}, NCCL {} wants one for each{}", fmt::join(ranks, ", "), gpu,
                       nccl_version_text(static_cast<int>(one.version)),
                       one.version >= kSharedGpuVersion && ranks.size() <= kMostSharing
                           ? fmt::format(" ({}=1 lets two share one)", kSharingVariable)
                           : "");
}

class NcclComm {
   public:
    NcclComm(NcclLibrary const& nccl, ncclComm_t comm) : nccl_(&nccl), comm_(comm) {}
    NcclComm(NcclComm&& other) noexcept : nccl_(other.nccl_), comm_(std::exchange(other.comm_, nullptr)) {}
    NcclComm& operator=(NcclComm&&) = delete;

    /// Not destroyed in NCCL's orderly way, which waits for the other ranks: a load ends with an agreement that
    /// everybody has all, and after a failure they may be gone.
    ~NcclComm() { abort(); }

    ncclComm_t get() const noexcept { return comm_; }

    void abort() noexcept {
        if (auto* const comm = std::exchange(comm_, nullptr); comm != nullptr) { nccl_->abort(comm); }
    }

    /// @throws Error io with NCCL's words if @p result is a failure: the ranks can still agree on it.
    void check(ncclResult_t result, char const* what) const {
        if (result == ncclSuccess || result == ncclInProgress) { return; }
        throw Error(Errc::io, fmt::format("NCCL: {}: {} ({})", what, nccl_->error_text(result),
                                            nccl_->last_error(comm_)));
    }

    /// True when nothing that was asked of NCCL is still in progress on the side of the host.
    bool is_settled(char const* what) const {
        auto state = ncclInProgress;
        check(nccl_->get_async_error(comm_, &state), what);
        check(state, what);
        return state == ncclSuccess;
    }

    NcclLibrary const& nccl() const noexcept { return *nccl_; }

   private:
    NcclLibrary const* nccl_;
    ncclComm_t comm_;
};

class NcclTransport final : public Transport {
   public:
    NcclTransport(NcclComm comm, int rank, Stream& stream) : comm_(std::move(comm)), rank_(rank), stream_(stream) {}

    std::string name() const override { return "nccl"; }
    bool share_memory(int, int) const noexcept override { return false; }
    std::span<std::byte> outbox(std::uint32_t, std::uint32_t) noexcept override { return {}; }
    void synchronize() override {}

    void send(Peer to, std::span<std::byte const> bytes) override {
        if (!bytes.empty()) { sends_.push_back({to.rank, bytes}); }
    }

    void receive(Peer from, std::span<std::byte> into, std::uint64_t id) override {
        receives_.push_back({from.rank, into, id});
    }

    bool has_broadcast() const noexcept override { return true; }

    void broadcast(std::span<std::byte const> bytes) override {
        // In place: the root's own buffer is read only.
        broadcasts_.push_back({rank_, {const_cast<std::byte*>(bytes.data()), bytes.size()}});
    }

    void receive_broadcast(int rank, std::span<std::byte> into, std::uint64_t id) override {
        broadcasts_.push_back({rank, into});
        broadcast_ids_.push_back(id);
    }

    /// One group for the whole exchange, or a rank that sends first would wait for one that does, too.
    void start() override {
        if (state_ != State::idle || is_idle()) { return; }
        auto const& nccl = comm_.nccl();
        auto* const stream = static_cast<cudaStream_t>(stream_.native());
        comm_.check(nccl.group_start(), "begin an exchange");
        for (auto const& [rank, into, id] : receives_) {
            if (into.empty()) { continue; }
            comm_.check(nccl.receive(into.data(), into.size(), ncclUint8, rank, comm_.get(), stream), "receive");
        }
        for (auto const& [rank, bytes] : sends_) {
            comm_.check(nccl.send(bytes.data(), bytes.size(), ncclUint8, rank, comm_.get(), stream), "send");
        }
        // Collectives must come in the same order on all ranks.
        std::ranges::sort(broadcasts_, {}, &Broadcast::root);
        for (auto const& [root, bytes] : broadcasts_) {
            comm_.check(nccl.broadcast(bytes.data(), bytes.data(), bytes.size(), ncclUint8, root, comm_.get(), stream),
                        "broadcast");
        }
        comm_.check(nccl.group_end(), "exchange");
        state_ = State::submitting;
    }

    void poll(std::vector<std::uint64_t>& received) override {
        if (state_ == State::idle) { return; }
        if (!comm_.is_settled("exchange")) { return; }
        if (state_ == State::submitting) {
            mark_ = stream_.mark();
            state_ = State::running;
        }
        if (!stream_.has_passed(mark_)) { return; }
        for (auto const& receive : receives_) { received.push_back(receive.id); }
        received.insert(received.end(), broadcast_ids_.begin(), broadcast_ids_.end());
        receives_.clear();
        sends_.clear();
        broadcasts_.clear();
        broadcast_ids_.clear();
        state_ = State::idle;
    }

    bool is_idle() const noexcept override { return sends_.empty() && receives_.empty() && broadcasts_.empty(); }
    void abort() noexcept override { comm_.abort(); }
    std::uint64_t staging_bytes() const noexcept override { return 0; }

   private:
    /// Until the group is submitted nothing else may be given to the stream, nor to NCCL.
    enum class State : std::uint8_t { idle, submitting, running };

    struct Send {
        int rank;
        std::span<std::byte const> bytes;
    };
    struct Receive {
        int rank;
        std::span<std::byte> into;
        std::uint64_t id;
    };

    struct Broadcast {
        int root;
        std::span<std::byte> bytes;
    };

    NcclComm comm_;
    int rank_;
    Stream& stream_;
    State state_ = State::idle;
    std::vector<Send> sends_;
    std::vector<Receive> receives_;
    std::vector<Broadcast> broadcasts_;
    std::vector<std::uint64_t> broadcast_ids_;  ///< of those that come from other ranks
    std::uint64_t mark_ = 0;
};

ncclUniqueId share_id(Communicator& communicator, NcclLibrary const& nccl) {
    ncclUniqueId id = {};
    together(communicator, [&] {
        if (communicator.rank() != 0) { return; }
        auto const result = nccl.get_unique_id(&id);
        if (result != ncclSuccess) {
            throw Error(Errc::io, fmt::format("NCCL: make an id: {} ({})", nccl.error_text(result),
                                                nccl.last_error(nullptr)));
        }
    });
    auto const* const begin = reinterpret_cast<std::byte const*>(&id);
    auto const bytes = communicator.broadcast({begin, begin + sizeof(id)}, 0);
    std::memcpy(&id, bytes.data(), sizeof(id));
    return id;
}

/// Connects this rank. Returns early, connected or not, when another one has raised the alarm: that one's error counts.
NcclComm connect(Communicator& communicator, NcclLibrary const& nccl, ncclUniqueId const& id) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;  // what is blocked cannot be given up
    ncclComm_t raw = nullptr;
    auto const result = nccl.init_rank(&raw, communicator.size(), id, communicator.rank(), &config);
    NcclComm comm(nccl, raw);
    comm.check(result, "connect the ranks");
    for (bool is_first = true; !comm.is_settled("connect the ranks"); is_first = false) {
        if (communicator.is_alarm_raised()) { break; }
        communicator.pause(is_first);
    }
    return comm;
}

}  // namespace

std::string nccl_obstacle(Communicator& communicator, Accelerator const& accelerator, Stream const& stream) {
    auto const all = gather(communicator, describe_own(accelerator, stream));
    std::map<std::string, std::vector<std::size_t>> ranks_of;  // by GPU
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
        if (!all[rank].obstacle.empty()) { return all[rank].obstacle; }
        if (all[rank].version != all[0].version) {
            return fmt::format("rank 0 has NCCL {}, rank {} has {}",
                               nccl_version_text(static_cast<int>(all[0].version)), rank,
                               nccl_version_text(static_cast<int>(all[rank].version)));
        }
        ranks_of[all[rank].gpu].push_back(rank);
    }
    for (auto const& [gpu, ranks] : ranks_of) {
        if (auto obstacle = sharing_obstacle(gpu, ranks, all); !obstacle.empty()) { return obstacle; }
    }
    return {};
}

std::unique_ptr<Transport> make_nccl_transport(Communicator& communicator, Stream& stream) {
    auto const& nccl = NcclLibrary::get();
    auto const id = share_id(communicator, nccl);
    std::optional<NcclComm> comm;
    try {
        together(communicator, [&] {
            try {
                comm.emplace(connect(communicator, nccl, id));
            } catch (...) {
                communicator.raise_alarm();
                throw;
            }
        });
    } catch (Error const& error) {
        if (error.rank() >= 0) { communicator.clear_alarm(); }
        throw;
    }
    return std::make_unique<NcclTransport>(std::move(*comm), communicator.rank(), stream);
}

}  // namespace shardwise
