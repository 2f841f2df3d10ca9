#include "exec/parameter_store.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace shardwise {
namespace {

constexpr std::uint64_t kPieceBytes = 8ULL << 20U;

/// Copies out of a GPU's memory through two pinned pieces: while one is emptied the other is filled.
void copy_to_host(Accelerator& accelerator, std::span<std::byte const> from, std::span<std::byte> into) {
    auto const pinned = accelerator.allocate_pinned(2 * std::min<std::uint64_t>(kPieceBytes, from.size()));
    auto const piece_bytes = pinned.bytes().size() / 2;
    auto const stream = accelerator.make_stream();
    std::array<std::uint64_t, 2> marks = {};
    std::uint64_t const pieces = (from.size() + piece_bytes - 1) / piece_bytes;
    auto const bytes_of = [&](std::uint64_t piece) {
        return std::min<std::uint64_t>(piece_bytes, from.size() - piece * piece_bytes);
    };
    auto const room_of = [&](std::uint64_t piece) { return pinned.bytes().data() + piece % 2 * piece_bytes; };
    for (std::uint64_t piece = 0; piece <= pieces; ++piece) {
        if (piece < pieces) {
            stream->copy(from.subspan(piece * piece_bytes, bytes_of(piece)), room_of(piece));
            marks[piece % 2] = stream->mark();
        }
        if (piece == 0) { continue; }
        auto const ready = piece - 1;
        wait_for(*stream, marks[ready % 2]);
        std::memcpy(into.data() + ready * piece_bytes, room_of(ready), bytes_of(ready));
    }
}

}  // namespace

std::size_t ParameterStore::size() const noexcept { return data_ ? data_->tensors.size() : 0; }

HeldTensor ParameterStore::operator[](std::size_t index) const {
    return {&data_->tensors[index], data_->spans[index], data_};
}

Device ParameterStore::device() const noexcept {
    return data_ && data_->accelerator ? Device::cuda : Device::host;
}

HeldTensor ParameterStore::on_host(std::size_t index) const {
    auto const held = (*this)[index];
    if (device() == Device::host || held.bytes.empty()) { return held; }
    auto const copy = make_host_memory(held.bytes.size());
    data_->accelerator->attach_thread();
    copy_to_host(*data_->accelerator, held.bytes, copy.bytes());
    // The name and the shape belong to the store, the bytes to the copy.
    auto const owner = std::make_shared<std::pair<std::shared_ptr<void const>, Memory>>(data_, copy);
    return {held.info, copy.bytes(), owner};
}

std::optional<HeldTensor> ParameterStore::find(std::string_view name) const {
    for (std::size_t i = 0; i < size(); ++i) {
        auto const& tensor = data_->tensors[i];
        bool const is_alias = std::find(tensor.aliases.begin(), tensor.aliases.end(), name) != tensor.aliases.end();
        if (tensor.name == name || is_alias) { return (*this)[i]; }
    }
    return std::nullopt;
}

}  // namespace shardwise
