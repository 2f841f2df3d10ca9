#include "report/stats.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "report/differences.hpp"
#include "util/units.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

using Json = nlohmann::ordered_json;

/// One figure of RankStats and its place in the document; one of the members is set.
struct Figure {
    std::string_view group;
    std::string_view name;
    double RankStats::*seconds = nullptr;
    std::uint64_t RankStats::*count = nullptr;
};

constexpr std::array kFigures = {
    Figure{"seconds", "total", &RankStats::total_seconds},
    Figure{"seconds", "open", &RankStats::open_seconds},
    Figure{"seconds", "plan", &RankStats::plan_seconds},
    Figure{"seconds", "read", &RankStats::read_seconds},
    Figure{"seconds", "exchange", &RankStats::exchange_seconds},
    Figure{"seconds", "place", &RankStats::place_seconds},
    Figure{"seconds", "verify", &RankStats::verify_seconds},
    Figure{"seconds", "write", &RankStats::write_seconds},
    Figure{"bytes", "checkpoint", nullptr, &RankStats::checkpoint_bytes},
    Figure{"bytes", "needed", nullptr, &RankStats::needed_bytes},
    Figure{"bytes", "read", nullptr, &RankStats::read_bytes},
    Figure{"bytes", "landed", nullptr, &RankStats::landed_bytes},
    Figure{"bytes", "exchanged", nullptr, &RankStats::exchanged_bytes},
    Figure{"bytes", "stored", nullptr, &RankStats::stored_bytes},
    Figure{"bytes", "written", nullptr, &RankStats::written_bytes},
    Figure{"", "requests", nullptr, &RankStats::requests},
    Figure{"", "lanes", nullptr, &RankStats::lanes},
    Figure{"", "first_tensor_seconds", &RankStats::first_tensor_seconds},
    Figure{"", "peak_rss_bytes", nullptr, &RankStats::peak_rss_bytes},
    Figure{"", "staging_bytes", nullptr, &RankStats::staging_bytes},
    Figure{"", "device_staging_bytes", nullptr, &RankStats::device_staging_bytes},
    Figure{"", "device_peak_bytes", nullptr, &RankStats::device_peak_bytes},
};

template <class T>
struct Spread {
    T min, max, sum;
    double mean;
};

template <class T>
Spread<T> spread_of(std::span<RankStats const> ranks, T RankStats::*member) {
    Spread<T> spread{ranks.front().*member, ranks.front().*member, 0, 0};
    for (auto const& rank : ranks) {
        spread.min = std::min(spread.min, rank.*member);
        spread.max = std::max(spread.max, rank.*member);
        spread.sum += rank.*member;
    }
    spread.mean = static_cast<double>(spread.sum) / static_cast<double>(ranks.size());
    return spread;
}

template <class T>
Json spread_json(std::span<RankStats const> ranks, T RankStats::*member) {
    auto const spread = spread_of(ranks, member);
    return {{"min", spread.min}, {"mean", spread.mean}, {"max", spread.max}, {"sum", spread.sum}};
}

Json& place_of(Json& document, Figure const& figure) {
    auto& group = figure.group.empty() ? document : document[std::string(figure.group)];
    return group[std::string(figure.name)];
}

Json rank_json(RankStats const& stats, std::size_t rank) {
    Json json = {{"rank", rank}};
    for (auto const& figure : kFigures) {
        if (figure.seconds != nullptr) {
            place_of(json, figure) = stats.*figure.seconds;
        } else {
            place_of(json, figure) = stats.*figure.count;
        }
    }
    json["paths"] = Json::object();
    for (auto const& reader : stats.readers) { json["paths"][reader.reader] = reader.bytes; }
    return json;
}

/// Bytes and requests by reader over all ranks.
std::map<std::string, ReaderBytes> sum_readers(std::span<RankStats const> ranks) {
    std::map<std::string, ReaderBytes> sums;
    for (auto const& rank : ranks) {
        for (auto const& reader : rank.readers) {
            auto& sum = sums[reader.reader];
            sum.bytes += reader.bytes;
            sum.requests += reader.requests;
        }
    }
    return sums;
}

double read_per_needed(JobFacts const& facts, std::span<RankStats const> ranks) {
    auto const read = spread_of(ranks, &RankStats::read_bytes).sum;
    return facts.needed_once_bytes == 0 ? 1.0
                                        : static_cast<double>(read) / static_cast<double>(facts.needed_once_bytes);
}

/// Seconds of the slowest rank until it held all tensors of each priority class.
std::vector<double> priority_seconds(std::size_t classes, std::span<RankStats const> ranks) {
    std::vector<double> slowest(classes);
    for (auto const& rank : ranks) {
        for (std::size_t i = 0; i < std::min(classes, rank.priority_seconds.size()); ++i) {
            slowest[i] = std::max(slowest[i], rank.priority_seconds[i]);
        }
    }
    return slowest;
}

/// Seconds of the slowest rank until it held its tensors: checking and writing them comes after.
double load_seconds(std::span<RankStats const> ranks) {
    double slowest = 0;
    for (auto const& rank : ranks) {
        slowest = std::max(slowest, rank.total_seconds - rank.verify_seconds - rank.write_seconds);
    }
    return slowest;
}

std::string figure_row(Figure const& figure, std::span<RankStats const> ranks) {
    auto const label = figure.group == "bytes" ? fmt::format("bytes {}", figure.name) : std::string(figure.name);
    auto const row = [&](auto min, auto mean, auto max) {
        return fmt::format("  {:<16}{:>12}{:>12}{:>12}\n", label, min, mean, max);
    };
    if (figure.seconds != nullptr) {
        auto const spread = spread_of(ranks, figure.seconds);
        if (spread.max == 0) { return {}; }
        return row(format_seconds(spread.min), format_seconds(spread.mean), format_seconds(spread.max));
    }
    auto const spread = spread_of(ranks, figure.count);
    if (spread.max == 0) { return {}; }
    if (figure.name == "requests" || figure.name == "lanes") {
        return row(std::to_string(spread.min), fmt::format("{:.0f}", spread.mean), std::to_string(spread.max));
    }
    return row(format_bytes(spread.min), format_bytes(static_cast<std::uint64_t>(spread.mean)),
               format_bytes(spread.max));
}

/// "4 files with uring (0 % cached, ext4, direct I/O)": files of one choice in one line.
std::string file_lines(std::vector<FileChoice> const& files) {
    std::map<std::pair<std::string, std::string>, std::size_t> counts;
    for (auto const& file : files) { ++counts[{file.reader, file.reason}]; }
    std::string lines;
    for (auto const& [choice, count] : counts) {
        lines += fmt::format("  {} file{} by {} ({})\n", count, count == 1 ? "" : "s", choice.first, choice.second);
    }
    return lines;
}

}  // namespace

std::vector<std::byte> encode(RankStats const& stats) {
    WireWriter out;
    for (auto const& figure : kFigures) {
        if (figure.seconds != nullptr) {
            out.put(stats.*figure.seconds);
        } else {
            out.put(stats.*figure.count);
        }
    }
    out.put<std::uint64_t>(stats.priority_seconds.size());
    for (auto const seconds : stats.priority_seconds) { out.put(seconds); }
    out.put<std::uint64_t>(stats.readers.size());
    for (auto const& reader : stats.readers) {
        out.put(reader.reader);
        out.put(reader.bytes);
        out.put(reader.requests);
    }
    return out.take();
}

RankStats decode_rank_stats(std::span<std::byte const> bytes) {
    WireReader in(bytes);
    RankStats stats;
    for (auto const& figure : kFigures) {
        if (figure.seconds != nullptr) {
            stats.*figure.seconds = in.get<double>();
        } else {
            stats.*figure.count = in.get<std::uint64_t>();
        }
    }
    stats.priority_seconds.resize(in.get_count());
    for (auto& seconds : stats.priority_seconds) { seconds = in.get<double>(); }
    stats.readers.resize(in.get_count());
    for (auto& reader : stats.readers) {
        reader.reader = in.get_text();
        reader.bytes = in.get<std::uint64_t>();
        reader.requests = in.get<std::uint64_t>();
    }
    return stats;
}

std::string stats_json(JobFacts const& facts, std::span<RankStats const> ranks) {
    Json json = {
        {"schema", "shardwise.stats/1"},
        {"world", facts.mesh.world()},
        {"pp", facts.mesh.pp},
        {"dp", facts.mesh.dp},
        {"fsdp", facts.mesh.fsdp},
        {"tp", facts.mesh.tp},
        {"ep", facts.mesh.expert_ranks()},
        {"arch", facts.architecture},
        {"plan", facts.plan_name},
        {"plan_digest", facts.plan_digest},
        {"checkpoint", facts.checkpoint},
        {"tensors", facts.tensors},
        {"differences", differences_json(facts.differences)},
        {"io", facts.io},
        {"transport", facts.transport},
        {"device", facts.device},
        {"device_name", facts.device_name},
    };
    for (auto const& figure : kFigures) {
        place_of(json, figure) =
            figure.seconds != nullptr ? spread_json(ranks, figure.seconds) : spread_json(ranks, figure.count);
    }
    json["needed_once_bytes"] = facts.needed_once_bytes;
    json["read_per_needed"] = read_per_needed(facts, ranks);
    json["strategy_bytes"] = {{"direct", facts.strategy_bytes.direct},
                              {"cooperative", facts.strategy_bytes.cooperative},
                              {"shared", facts.strategy_bytes.shared}};
    json["paths"] = Json::object();
    for (auto const& [name, reader] : sum_readers(ranks)) { json["paths"][name] = reader.bytes; }
    json["lanes_reason"] = facts.lanes_reason;
    json["files_at_once"] = {{"files", facts.files_at_once}, {"reason", facts.files_at_once_reason}};
    json["priority"] = Json::array();
    auto const seconds = priority_seconds(facts.priority.size(), ranks);
    for (std::size_t i = 0; i < seconds.size(); ++i) {
        json["priority"].push_back({{"class", facts.priority[i]}, {"seconds", seconds[i]}});
    }
    for (auto const& file : facts.files) {
        json["files"].push_back({{"path", file.path}, {"reader", file.reader}, {"reason", file.reason}});
    }
    json["notes"] = facts.notes;
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) { json["ranks"].push_back(rank_json(ranks[rank], rank)); }
    return json.dump(1) + "\n";
}

std::string stats_table(JobFacts const& facts, std::span<RankStats const> ranks) {
    auto const seconds = load_seconds(ranks);
    auto const stored = spread_of(ranks, &RankStats::stored_bytes).sum;
    auto text =
        fmt::format("{}: {} tensors, {} (architecture {}, plan {}) into {} rank{}: {}\n", facts.checkpoint,
                    facts.tensors, format_bytes(ranks.front().checkpoint_bytes), facts.architecture, facts.plan_name,
                    facts.mesh.world(), facts.mesh.world() == 1 ? "" : "s", to_string(facts.mesh));
    text += fmt::format("  {:<16}{:>12}{:>12}{:>12}\n", "per rank", "min", "mean", "max");
    for (auto const& figure : kFigures) { text += figure_row(figure, ranks); }
    text += fmt::format("  loaded {} in {}: {}; read {:.3f} x the bytes needed once\n", format_bytes(stored),
                        format_seconds(seconds), format_rate(stored, seconds), read_per_needed(facts, ranks));
    text += fmt::format("  direct {}, cooperative {}, shared {}; transport {}; into {}\n",
                        format_bytes(facts.strategy_bytes.direct), format_bytes(facts.strategy_bytes.cooperative),
                        format_bytes(facts.strategy_bytes.shared), facts.transport, facts.device_name);
    auto const classes = priority_seconds(facts.priority.size(), ranks);
    for (std::size_t i = 0; i < classes.size(); ++i) {
        text += fmt::format("  priority {}: complete everywhere {} after the load began\n", facts.priority[i],
                            format_seconds(classes[i]));
    }
    for (auto const& [name, reader] : sum_readers(ranks)) {
        text += fmt::format("  {}: {} in {} requests\n", name, format_bytes(reader.bytes), reader.requests);
    }
    text += file_lines(facts.files);
    for (auto const& note : facts.notes) { text += fmt::format("  note: {}\n", note); }
    return text;
}

}  // namespace shardwise
