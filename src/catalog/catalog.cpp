#include <shardwise/catalog.hpp>

#include <algorithm>
#include <numeric>

#include "util/natural_order.hpp"

namespace shardwise {

Catalog::Catalog(Parts parts) : parts_(std::move(parts)) {
    std::sort(parts_.tensors.begin(), parts_.tensors.end(),
              [](TensorRecord const& a, TensorRecord const& b) { return natural_name_less(a.name, b.name); });
}

std::optional<std::uint32_t> Catalog::find(std::string_view name) const noexcept {
    auto const& tensors = parts_.tensors;
    auto const at =
        std::lower_bound(tensors.begin(), tensors.end(), name,
                         [](TensorRecord const& t, std::string_view n) { return natural_name_less(t.name, n); });
    if (at == tensors.end() || at->name != name) { return std::nullopt; }
    return static_cast<std::uint32_t>(at - tensors.begin());
}

std::uint64_t Catalog::tensor_bytes() const noexcept {
    return std::accumulate(parts_.tensors.begin(), parts_.tensors.end(), std::uint64_t{0},
                           [](std::uint64_t sum, TensorRecord const& t) { return sum + t.size_bytes; });
}

}  // namespace shardwise
