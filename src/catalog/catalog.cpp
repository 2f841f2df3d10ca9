#include <numeric>
#include <utility>

#include <shardwise/catalog.hpp>

#include "util/name_hash.hpp"
#include "util/natural_order.hpp"
#include "util/permute.hpp"

namespace shardwise {

namespace {

void put_in_natural_order(std::vector<TensorRecord>& tensors) {
    std::vector<std::string_view> names;
    names.reserve(tensors.size());
    for (auto const& tensor : tensors) { names.emplace_back(tensor.name); }
    permute(tensors, natural_order(names));
}

}  // namespace

Catalog::Catalog(Parts parts) : parts_(std::move(parts)) {
    put_in_natural_order(parts_.tensors);
    index_names();
}

std::optional<std::uint32_t> Catalog::find(std::string_view name) const noexcept {
    if (slots_.empty()) { return std::nullopt; }
    for (auto slot = slot_of(name);; slot = (slot + 1) % slots_.size()) {
        auto const index = slots_[slot];
        if (index == kNoTensor) { return std::nullopt; }
        if (parts_.tensors[index].name == name) { return index; }
    }
}

std::size_t Catalog::slot_of(std::string_view name) const noexcept {
    return NameHash()(name) % slots_.size();
}

/// Rules look every name up several times.
void Catalog::index_names() {
    slots_.assign(2 * parts_.tensors.size(), kNoTensor);
    for (std::uint32_t i = 0; i < parts_.tensors.size(); ++i) {
        auto slot = slot_of(parts_.tensors[i].name);
        while (slots_[slot] != kNoTensor) { slot = (slot + 1) % slots_.size(); }
        slots_[slot] = i;
    }
}

std::uint64_t Catalog::tensor_bytes() const noexcept {
    return std::accumulate(parts_.tensors.begin(), parts_.tensors.end(), std::uint64_t{0},
                           [](std::uint64_t sum, TensorRecord const& t) { return sum + t.size_bytes; });
}

}  // namespace shardwise
