#include "plan/demand.hpp"

#include <algorithm>
#include <utility>

#include "plan/read_order.hpp"
#include "util/digits.hpp"
#include "util/permute.hpp"

namespace shardwise {
namespace {

/// The layer that a parameter is in, such as "model.layers.3"; empty for those outside of layers.
std::string_view layer_of(std::string_view name) {
    for (std::size_t begin = 0; begin < name.size();) {
        auto const end = std::min(name.find('.', begin), name.size());
        auto const segment = name.substr(begin, end - begin);
        if (is_number(segment)) { return name.substr(0, end); }
        begin = end + 1;
    }
    return {};
}

}  // namespace

Demand::Demand(Catalog const& catalog, Parameters parameters, DemandOptions const& options)
    : mesh_(options.mesh), parameters_(std::move(parameters.list)) {
    sort_by_priority(PriorityClasses(options.priority));
    uses_ = uses_of(parameters_, catalog.tensors().size(), mesh_, options.max_gap);
    sort_by_place(catalog, options.files_at_once);
}

/// The group that each parameter's stored tensors are read in: one a layer, and one a parameter outside of layers.
std::vector<std::uint32_t> Demand::groups() const {
    std::vector<std::uint32_t> groups;
    std::string_view last_layer;
    for (std::size_t tensor = 0; tensor < parameters_.size(); ++tensor) {
        auto const layer = layer_of(parameters_[tensor].name);
        bool const is_same =
            tensor > 0 && !layer.empty() && layer == last_layer && priorities_[tensor] == priorities_[tensor - 1];
        groups.push_back(groups.empty() ? 0 : groups.back() + (is_same ? 0 : 1));
        last_layer = layer;
    }
    return groups;
}

/// Experts, and codes and scales, lie side by side in files but go into different parameters: within a layer, stored
/// tensors come as they lie there, so that one read takes many. Layers stay in their order, and so do priorities.
void Demand::sort_by_place(Catalog const& catalog, std::uint32_t files_at_once) {
    auto const group_of = groups();
    std::vector<ReadPlace> places;
    places.reserve(uses_.size());
    for (auto const& use : uses_) {
        auto const tensor = use.tensors.front();
        auto const& stored = catalog.tensors()[use.source];
        places.push_back({group_of[tensor], priorities_[tensor], stored.file, stored.begin, use.needed.size()});
    }
    auto read_in = read_order(places, files_at_once);
    permute(uses_, std::move(read_in.order));
    std::vector<std::size_t> last_round(parameters_.size(), 0);  // that wanted a parameter; they count from 1
    for (std::size_t at = 0, round = 1; auto const end : read_in.round_ends) {
        std::size_t wanting = 0;
        for (; at < end; ++at) {
            for (auto const tensor : uses_[at].tensors) {
                wanting += std::exchange(last_round[tensor], round) == round ? 0 : 1;
            }
        }
        by_turns_ = std::max(by_turns_, wanting);
        ++round;
    }
}

void Demand::sort_by_priority(PriorityClasses const& classes) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> order;  // class, index
    for (std::uint32_t i = 0; i < parameters_.size(); ++i) {
        order.emplace_back(classes.class_of(parameters_[i].name), i);
    }
    std::ranges::sort(order);
    std::vector<Parameter> sorted;
    for (auto const& [priority, index] : order) {
        priorities_.push_back(priority);
        sorted.push_back(std::move(parameters_[index]));
    }
    parameters_ = std::move(sorted);
}

}  // namespace shardwise
