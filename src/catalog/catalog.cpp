#include <shardwise/catalog.hpp>

#include <algorithm>
#include <functional>
#include <numeric>

#include "util/natural_order.hpp"

namespace shardwise {

namespace {

/// Sorts by name. Records are long: each is moved once.
std::vector<TensorRecord> in_natural_order(std::vector<TensorRecord> tensors) {
    std::vector<std::string_view> names;
    names.reserve(tensors.size());
    for (auto const& tensor : tensors) { names.emplace_back(tensor.name); }
    std::vector<TensorRecord> sorted;
    sorted.reserve(tensors.size());
    for (auto const i : natural_order(names)) { sorted.push_back(std::move(tensors[i])); }
    return sorted;
}

}  // namespace

Catalog::Catalog(Parts parts) : parts_(std::move(parts)) {
    parts_.tensors = in_natural_order(std::move(parts_.tensors));
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
    return std::hash<std::string_view>()(name) % slots_.size();
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
