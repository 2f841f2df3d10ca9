#include <algorithm>
#include <deque>
#include <optional>

#include <fmt/format.h>

#include "comm/mpi_communicator.hpp"
#include "comm/shared_window.hpp"
#include "comm/transport.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

constexpr int kFirstTag = 2;  ///< of the first channel; the next ones follow
constexpr std::uint32_t kChannels = 2;
/// Counts are int, and pieces pipeline better than one long message
constexpr std::size_t kPieceBytes = 256ULL << 20U;

/// An MPI message under way; the last piece of a long one carries the id.
struct Message {
    MPI_Request request = MPI_REQUEST_NULL;
    std::uint32_t channel = 0;
    std::optional<std::uint64_t> received_id = {};
};

class MpiTransport final : public Transport {
   public:
    MpiTransport(MpiCommunicator& communicator, OutboxSpec outboxes, bool uses_window)
        : communicator_(communicator), comm_(duplicate(communicator.comm())), spec_(outboxes) {
        if (uses_window) { window_ = std::make_unique<SharedWindow>(communicator.node_comm(), outboxes.total_bytes()); }
    }

    std::string name() const override {
        auto const nodes = communicator_.layout().node_count;
        if (!window_ || nodes == static_cast<std::uint32_t>(communicator_.size())) { return "mpi"; }
        return nodes == 1 ? "shm" : "shm+mpi";
    }

    bool share_memory(int a, int b) const noexcept override {
        auto const& node_of = communicator_.layout().node_of;
        return window_ && node_of[static_cast<std::size_t>(a)] == node_of[static_cast<std::size_t>(b)];
    }

    std::span<std::byte> outbox(std::uint32_t index, std::uint32_t seat) noexcept override {
        if (!window_ || communicator_.layout().neighbours.size() == 1) { return {}; }
        return window_->bytes().subspan((std::uint64_t{index} * spec_.seats + seat) * spec_.bytes, spec_.bytes);
    }

    void synchronize() override {
        if (window_) { window_->synchronize(); }
    }

    std::uint32_t channels() const noexcept override { return kChannels; }

    void send(Peer to, std::span<std::byte const> bytes) override {
        for (auto piece = take_piece(bytes); !piece.empty(); piece = take_piece(bytes)) {
            Message message = {.channel = to.channel};
            check_mpi(MPI_Isend(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, to.rank, tag_of(to),
                                comm_.get(), &message.request),
                      "send");
            under_way_.push_back(message);
        }
    }

    void receive(Peer from, std::span<std::byte> into, std::uint64_t id) override {
        if (into.empty()) {
            under_way_.push_back({MPI_REQUEST_NULL, from.channel, id});
        }  // nothing is sent, and nothing to wait for
        for (auto piece = take_piece(into); !piece.empty(); piece = take_piece(into)) {
            Message message = {.channel = from.channel};
            check_mpi(MPI_Irecv(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, from.rank, tag_of(from),
                                comm_.get(), &message.request),
                      "receive");
            if (into.empty()) { message.received_id = id; }
            under_way_.push_back(message);
        }
    }

    void poll(std::vector<std::uint64_t>& received) override {
        std::erase_if(under_way_, [&](Message& message) {
            int is_done = 0;
            check_mpi(MPI_Test(&message.request, &is_done, MPI_STATUS_IGNORE), "move a message");
            if (is_done != 0 && message.received_id) { received.push_back(*message.received_id); }
            return is_done != 0;
        });
    }

    bool is_idle() const noexcept override { return under_way_.empty(); }

    bool is_idle_on(std::uint32_t channel) const noexcept override {
        return std::ranges::find(under_way_, channel, &Message::channel) == under_way_.end();
    }

    std::uint64_t staging_bytes() const noexcept override { return window_ ? spec_.total_bytes() : 0; }

   private:
    static int tag_of(Peer peer) noexcept { return kFirstTag + static_cast<int>(peer.channel); }

    template <class Bytes>
    static Bytes take_piece(Bytes& rest) {
        auto const piece = rest.first(std::min(rest.size(), kPieceBytes));
        rest = rest.subspan(piece.size());
        return piece;
    }

    MpiCommunicator& communicator_;
    Comm comm_;  ///< this transport's alone: messages that a failed load leaves behind must not meet the next one's
    OutboxSpec spec_;
    std::unique_ptr<SharedWindow> window_;
    std::deque<Message> under_way_;
};

/// The first reason any rank has not to use shared memory; empty if none has one.
std::string agreed_obstacle(MpiCommunicator& communicator, OutboxSpec outboxes) {
    WireWriter out;
    out.put(shared_memory_obstacle(outboxes.total_bytes()));
    for (auto const& message : communicator.all_gather(out.take())) {
        auto const reason = WireReader(message).get_text();
        if (!reason.empty()) { return reason; }
    }
    return {};
}

}  // namespace

std::unique_ptr<Transport> make_mpi_transport(Communicator& communicator, OutboxSpec outboxes, TransportChoice choice,
                                              std::string& note) {
    auto& mpi = dynamic_cast<MpiCommunicator&>(communicator);
    if (choice == TransportChoice::mpi) { return std::make_unique<MpiTransport>(mpi, outboxes, false); }
    auto const node_count = mpi.layout().node_count;
    if (choice == TransportChoice::shm && node_count > 1) {
        throw Error(
            Errc::unavailable,
            fmt::format("--transport shm: the ranks are on {} nodes, memory is shared only inside one", node_count));
    }
    auto const obstacle = agreed_obstacle(mpi, outboxes);
    if (!obstacle.empty() && choice == TransportChoice::shm) {
        throw Error(Errc::unavailable, fmt::format("--transport shm: {}", obstacle));
    }
    note = obstacle;
    return std::make_unique<MpiTransport>(mpi, outboxes, obstacle.empty());
}

}  // namespace shardwise
