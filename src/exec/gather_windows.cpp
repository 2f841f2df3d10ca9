#include "exec/gather_windows.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>

#include "comm/transport.hpp"
#include "convert/runs.hpp"

namespace shardwise {
namespace {

/// Takes runs to or from a message, one after the other, in the same order on both sides.
class Cursor {
   public:
    explicit Cursor(std::span<std::byte> bytes) : rest_(bytes) {}

    std::byte* take(std::uint64_t count) {
        auto* const at = rest_.data();
        rest_ = rest_.subspan(count);
        return at;
    }

   private:
    std::span<std::byte> rest_;
};

/// The windows of one round, as this rank sees them.
class Round {
   public:
    Round(WindowParts& parts, HeldTensors tensors, Communicator& communicator)
        : parts_(parts), tensors_(tensors), rank_(communicator.rank()) {
        std::string ignored;
        transport_ = communicator.size() == 1
                         ? make_self_transport()
                         : make_mpi_transport(communicator, {}, TransportChoice::mpi, ignored);
    }

    /// Packs what this rank has for the window of @p writer, or makes room for its own.
    void prepare(Window const& window, int writer) {
        auto parts = parts_.parts_of(window, writer);
        if (writer == rank_) { return prepare_own(window, std::move(parts)); }
        std::erase_if(parts, [&](Piece const& piece) { return piece.holder != rank_; });
        auto& message = sent_[writer];
        message.resize(bytes_of(parts));
        Cursor cursor(message);
        for (auto const& piece : parts) {
            auto const local = tensors_[piece.block.tensor];
            for_each_run(piece.block, [&](std::uint64_t, std::uint64_t held, std::uint64_t size) {
                std::memcpy(cursor.take(size), &local[held], size);
            });
        }
    }

    void exchange(Communicator& communicator) {
        for (auto& [holder, message] : received_) { transport_->receive({holder}, message, 0); }
        for (auto const& [writer, message] : sent_) { transport_->send({writer}, message); }
        std::vector<std::uint64_t> arrived;
        transport_->poll(arrived);
        for (bool is_first = true; !transport_->is_idle(); is_first = !arrived.empty()) {
            communicator.pause(is_first);
            arrived.clear();
            transport_->poll(arrived);
        }
    }

    /// This rank's window, complete after the exchange.
    std::span<std::byte const> finish() {
        std::map<int, Cursor> cursors;
        for (auto& [holder, message] : received_) { cursors.emplace(holder, Cursor(message)); }
        for (auto const& piece : own_) {
            if (piece.holder == rank_) {
                auto const local = tensors_[piece.block.tensor];
                for_each_run(piece.block, [&](std::uint64_t at, std::uint64_t held, std::uint64_t size) {
                    std::memcpy(&window_[at], &local[held], size);
                });
                continue;
            }
            auto& cursor = cursors.at(piece.holder);
            for_each_run(piece.block, [&](std::uint64_t at, std::uint64_t, std::uint64_t size) {
                std::memcpy(&window_[at], cursor.take(size), size);
            });
        }
        return window_;
    }

    void clear() noexcept {
        sent_.clear();
        received_.clear();
        own_.clear();
    }

   private:
    static std::uint64_t bytes_of(std::span<Piece const> parts) {
        std::uint64_t bytes = 0;
        for (auto const& piece : parts) { bytes += piece.block.bytes(); }
        return bytes;
    }

    void prepare_own(Window const& window, std::vector<Piece> parts) {
        window_.resize(window.range.size());
        std::map<int, std::uint64_t> bytes_from;
        for (auto const& piece : parts) {
            if (piece.holder != rank_) { bytes_from[piece.holder] += piece.block.bytes(); }
        }
        for (auto const& [holder, bytes] : bytes_from) { received_[holder].resize(bytes); }
        own_ = std::move(parts);
    }

    WindowParts& parts_;
    HeldTensors tensors_;
    int rank_;
    std::unique_ptr<Transport> transport_;
    std::map<int, std::vector<std::byte>> sent_;      ///< by writer
    std::map<int, std::vector<std::byte>> received_;  ///< by holder
    std::vector<Piece> own_;
    std::vector<std::byte> window_;
};

}  // namespace

std::uint64_t gathered_window_bytes(int ranks) noexcept {
    constexpr std::uint64_t kLeast = 256ULL << 10U;
    constexpr std::uint64_t kMost = 8ULL << 20U;
    constexpr std::uint64_t kOfARound = 128ULL << 20U;
    return std::clamp(kOfARound / static_cast<std::uint64_t>(ranks), kLeast, kMost);
}

void gather_windows(WindowParts& parts, HeldTensors tensors, std::span<std::vector<Window> const> windows,
                    CheckpointWriter& writer, Communicator& communicator) {
    auto const own = static_cast<std::size_t>(communicator.rank());
    std::size_t rounds = 0;
    for (auto const& list : windows) { rounds = std::max(rounds, list.size()); }
    auto round = std::make_unique<Round>(parts, tensors, communicator);
    auto const prepare = [&](std::size_t number) {
        round->clear();
        for (std::size_t rank = 0; rank < windows.size(); ++rank) {
            if (number < windows[rank].size()) { round->prepare(windows[rank][number], static_cast<int>(rank)); }
        }
    };
    together(communicator, [&] { prepare(0); });
    for (std::size_t number = 0; number < rounds; ++number) {
        try {
            round->exchange(communicator);
        } catch (Error const&) {
            static_cast<void>(round.release());  // messages under way: the memory stays the network's
            throw;
        }
        // Everything that can fail comes after the exchange, so that nobody waits for a message that is never sent.
        together(communicator, [&] {
            if (number < windows[own].size()) { writer.write(windows[own][number], round->finish()); }
            prepare(number + 1);
        });
    }
}

}  // namespace shardwise
