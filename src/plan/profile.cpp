#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>
#include <shardwise/profile.hpp>

#include "util/checked.hpp"
#include "util/file.hpp"
#include "util/json_reader.hpp"
#include "util/suggest.hpp"

namespace shardwise {
namespace {

constexpr char const* kSchema = "shardwise.profile/1";

std::vector<MachineProfile> const& built_in() {
    static std::vector<MachineProfile> const profiles = [] {
        MachineProfile parallel;
        parallel.name = "parallel-fs";
        parallel.read_bytes_per_second = 5e9;
        parallel.shared_bytes_per_second = 100e9;
        parallel.request_seconds = 100e-6;
        MachineProfile cached;
        cached.name = "cached";
        cached.read_bytes_per_second = cached.cached_bytes_per_second;
        cached.request_seconds = 1e-6;
        return std::vector{MachineProfile{}, parallel, cached};
    }();
    return profiles;
}

using Figure = std::pair<char const*, double MachineProfile::*>;

/// Every figure by its name in files; those that may not be 0 first.
constexpr Figure kFigures[] = {
    {"read_bytes_per_second", &MachineProfile::read_bytes_per_second},
    {"cached_bytes_per_second", &MachineProfile::cached_bytes_per_second},
    {"exchange_bytes_per_second", &MachineProfile::exchange_bytes_per_second},
    {"network_bytes_per_second", &MachineProfile::network_bytes_per_second},
    {"shared_bytes_per_second", &MachineProfile::shared_bytes_per_second},
    {"request_seconds", &MachineProfile::request_seconds},
    {"step_seconds", &MachineProfile::step_seconds},
};
constexpr std::size_t kPositiveFigures = 4;

/// To four digits: no more of a measured figure means anything.
double rounded(double figure) {
    return std::stod(fmt::format("{:.4g}", figure));
}

double number_of(JsonReader const& reader, nlohmann::json const& value, bool is_positive) {
    auto const number = value.is_number() ? value.get<double>() : std::nan("");
    if (!std::isfinite(number) || number < 0 || (is_positive && number == 0)) {
        reader.refuse(
            fmt::format("expected a number {}, found {}", is_positive ? "above 0" : "from 0 up", value.dump()));
    }
    return number;
}

MachineProfile read_profile(std::string const& path) {
    auto const document = parse_json(read_text(path), path);
    JsonReader const reader(document, path);
    reader.allow_only({"schema", "name", "ranks_per_node", "read_bytes_per_second", "shared_bytes_per_second",
                       "request_seconds", "cached_bytes_per_second", "exchange_bytes_per_second",
                       "network_bytes_per_second", "step_seconds"});
    if (auto const schema = reader["schema"]; schema.text() != kSchema) {
        schema.refuse(fmt::format("expected {}, found {}", kSchema, schema.text()));
    }
    MachineProfile profile;
    profile.name = reader["name"].text();
    auto const ranks = reader["ranks_per_node"];
    profile.ranks_per_node = ranks.integer();
    if (profile.ranks_per_node < 1) { ranks.refuse("expected a number from 1 up"); }
    for (std::size_t i = 0; i < std::size(kFigures); ++i) {
        auto const& [name, figure] = kFigures[i];
        profile.*figure = number_of(reader[name], document[name], i < kPositiveFigures);
    }
    return profile;
}

}  // namespace

double MachineProfile::read_bytes_per_second_of(std::int64_t nodes) const noexcept {
    auto const of_nodes = read_bytes_per_second * static_cast<double>(nodes);
    return shared_bytes_per_second > 0 ? std::min(of_nodes, shared_bytes_per_second) : of_nodes;
}

std::int64_t MachineProfile::nodes_of(std::int64_t ranks) const noexcept {
    return ceil_div(ranks, ranks_per_node);
}

std::vector<std::string> profile_names() {
    std::vector<std::string> names;
    for (auto const& profile : built_in()) { names.push_back(profile.name); }
    return names;
}

MachineProfile load_profile(std::string const& name_or_path) {
    for (auto const& profile : built_in()) {
        if (profile.name == name_or_path) { return profile; }
    }
    if (name_or_path.find_first_of("/.") != std::string::npos) { return read_profile(name_or_path); }
    auto const names = profile_names();
    auto const near = nearest(name_or_path, names);
    throw Error(Errc::usage,
                fmt::format("no profile '{}'; {}", name_or_path,
                            near.empty() ? fmt::format("the profiles are {}, or a file that calibrate wrote",
                                                       fmt::join(names, ", "))
                                         : fmt::format("did you mean {}?", near)));
}

std::string to_json(MachineProfile const& profile) {
    nlohmann::ordered_json json = {
        {"schema", kSchema}, {"name", profile.name}, {"ranks_per_node", profile.ranks_per_node}};
    for (auto const& [name, figure] : kFigures) { json[name] = rounded(profile.*figure); }
    return json.dump(1) + "\n";
}

}  // namespace shardwise
