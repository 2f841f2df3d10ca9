#include "report/simulation_report.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "util/units.hpp"

namespace shardwise {

std::string simulation_table(MachineProfile const& profile, std::span<SimulatedLoad const> loads) {
    constexpr auto kRow = "  {:>6}{:>7}{:>10}{:>10}{:>10}{:>10}{:>10}{:>13}{:>13}{:>12}{:>12}\n";
    auto text = fmt::format("predicted by profile {}: the longest of storage, copies, network and waves is the load\n",
                            profile.name);
    text += fmt::format(kRow, "ranks", "nodes", "load", "storage", "copies", "network", "waves", "all read",
                        "a node reads", "sends", "receives");
    bool is_sampled = false;
    for (auto const& load : loads) {
        text += fmt::format(kRow, load.ranks, load.nodes, format_seconds(load.seconds),
                            format_seconds(load.storage_seconds), format_seconds(load.copy_seconds),
                            format_seconds(load.network_seconds), format_seconds(load.wave_seconds),
                            format_bytes(load.storage_bytes), format_bytes(load.node_storage_bytes),
                            format_bytes(load.node_sent_bytes), format_bytes(load.node_received_bytes));
        is_sampled = is_sampled || load.played_waves < load.waves;
    }
    if (is_sampled) {
        text +=
            fmt::format("  network and waves: {} of {} waves were played through, the others taken to be like them\n",
                        loads.back().played_waves, loads.back().waves);
    }
    return text;
}

std::string simulation_json(MachineProfile const& profile, std::span<SimulatedLoad const> loads) {
    nlohmann::ordered_json json = {{"schema", "shardwise.simulation/1"},
                                   {"profile", nlohmann::ordered_json::parse(to_json(profile))}};
    for (auto const& load : loads) {
        json["loads"].push_back({
            {"ranks", load.ranks},
            {"nodes", load.nodes},
            {"seconds", load.seconds},
            {"storage_seconds", load.storage_seconds},
            {"copy_seconds", load.copy_seconds},
            {"network_seconds", load.network_seconds},
            {"wave_seconds", load.wave_seconds},
            {"storage_bytes", load.storage_bytes},
            {"node_storage_bytes", load.node_storage_bytes},
            {"node_sent_bytes", load.node_sent_bytes},
            {"node_received_bytes", load.node_received_bytes},
            {"waves", load.waves},
            {"played_waves", load.played_waves},
        });
    }
    return json.dump(1) + "\n";
}

}  // namespace shardwise
