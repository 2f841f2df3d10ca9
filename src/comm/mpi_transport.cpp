#include <algorithm>
#include <deque>
#include <optional>

#include <fmt/format.h>

#include "comm/mpi_communicator.hpp"
#include "comm/shared_window.hpp"
#include "comm/transport.hpp"
#include "device/host_memory.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

constexpr int kDataTag = 2;
constexpr std::size_t kPieceBytes = 256ULL << 20U;  ///< counts are int, and pieces pipeline better than one long message

/// An MPI message under way; the last piece of a long one carries the id.
struct Message {
    MPI_Request request = MPI_REQUEST_NULL;
    std::optional<std::uint64_t> received_id;
};

class MpiTransport final : public Transport {
   public:
    MpiTransport(MpiCommunicator& communicator, SlotSpec slots, bool uses_window) : communicator_(communicator), spec_(slots) {
        auto const own_bytes = slots.count * slots.bytes;
        auto const& layout = communicator.layout();
        node_rank_of_.assign(static_cast<std::size_t>(communicator.size()), -1);
        if (uses_window) {
            window_ = std::make_unique<SharedWindow>(communicator.node_comm(), own_bytes);
            for (std::size_t i = 0; i < layout.neighbours.size(); ++i) {
                node_rank_of_[static_cast<std::size_t>(layout.neighbours[i])] = static_cast<int>(i);
            }
            own_ = window_->part(node_rank_of_[static_cast<std::size_t>(communicator.rank())]);
        } else {
            memory_ = HostMemory(own_bytes);
            own_ = memory_.bytes();
        }
    }

    std::string name() const override {
        if (!window_) { return "mpi"; }
        return communicator_.layout().node_count == 1 ? "shm" : "shm+mpi";
    }

    std::span<std::byte> slot(std::uint32_t index) noexcept override { return own_.subspan(index * spec_.bytes, spec_.bytes); }

    bool shares_memory_with(int rank) const noexcept override {
        return rank == communicator_.rank() || node_rank_of_[static_cast<std::size_t>(rank)] >= 0;
    }

    std::span<std::byte const> slot_of(int rank, std::uint32_t index) const noexcept override {
        auto const node_rank = node_rank_of_[static_cast<std::size_t>(rank)];
        auto const part = node_rank < 0 ? own_ : window_->part(node_rank);
        return part.subspan(index * spec_.bytes, spec_.bytes);
    }

    void synchronize() override {
        if (window_) { window_->synchronize(); }
    }

    void send(int rank, std::span<std::byte const> bytes) override {
        for (auto piece = take_piece(bytes); !piece.empty(); piece = take_piece(bytes)) {
            Message message;
            check_mpi(MPI_Isend(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, rank, kDataTag, communicator_.comm(), &message.request), "send");
            under_way_.push_back(message);
        }
    }

    void receive(int rank, std::span<std::byte> into, std::uint64_t id) override {
        for (auto piece = take_piece(into); !piece.empty(); piece = take_piece(into)) {
            Message message;
            check_mpi(MPI_Irecv(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, rank, kDataTag, communicator_.comm(), &message.request), "receive");
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

    std::uint64_t slot_memory_bytes() const noexcept override { return own_.size() * (window_ ? window_->part_count() : 1); }

   private:
    template <class Bytes>
    static Bytes take_piece(Bytes& rest) {
        auto const piece = rest.first(std::min(rest.size(), kPieceBytes));
        rest = rest.subspan(piece.size());
        return piece;
    }

    MpiCommunicator& communicator_;
    SlotSpec spec_;
    std::unique_ptr<SharedWindow> window_;
    HostMemory memory_;
    std::span<std::byte> own_;
    std::vector<int> node_rank_of_;  ///< -1: reached by messages
    std::deque<Message> under_way_;
};

/// The first reason any rank has not to use shared memory; empty if none has one.
std::string agreed_obstacle(MpiCommunicator& communicator, SlotSpec slots) {
    auto const node_ranks = communicator.layout().neighbours.size();
    WireWriter out;
    out.put(shared_memory_obstacle(slots.count * slots.bytes * node_ranks));
    for (auto const& message : communicator.all_gather(out.take())) {
        auto const reason = WireReader(message).get_text();
        if (!reason.empty()) { return reason; }
    }
    return {};
}

}  // namespace

std::unique_ptr<Transport> make_mpi_transport(Communicator& communicator, SlotSpec slots, TransportChoice choice, std::string& note) {
    auto& mpi = dynamic_cast<MpiCommunicator&>(communicator);
    if (choice == TransportChoice::mpi) { return std::make_unique<MpiTransport>(mpi, slots, false); }
    auto const node_count = mpi.layout().node_count;
    if (choice == TransportChoice::shm && node_count > 1) {
        throw Error(Errc::unavailable, fmt::format("--transport shm: the ranks are on {} nodes, memory is shared only inside one", node_count));
    }
    auto const obstacle = agreed_obstacle(mpi, slots);
    if (!obstacle.empty() && choice == TransportChoice::shm) { throw Error(Errc::unavailable, fmt::format("--transport shm: {}", obstacle)); }
    note = obstacle;
    return std::make_unique<MpiTransport>(mpi, slots, obstacle.empty());
}

}  // namespace shardwise
