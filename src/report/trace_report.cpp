#include "report/trace_report.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "util/wire.hpp"

namespace shardwise {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMicroseconds = 1e6;

/// The rows of one name: each has events that do not overlap.
struct Rows {
    std::vector<double> ends;      ///< of the last event of each
    std::vector<std::size_t> ids;  ///< thread numbers
};

}  // namespace

std::vector<std::byte> encode(RankTrace const& trace) {
    WireWriter out;
    out.put(trace.left_out);
    out.put<std::uint64_t>(trace.events.size());
    for (auto const& event : trace.events) {
        out.put(event.row);
        out.put(event.name);
        out.put(event.begin);
        out.put(event.end);
        out.put(event.bytes);
        out.put(event.detail);
    }
    return out.take();
}

RankTrace decode_rank_trace(std::span<std::byte const> bytes) {
    WireReader in(bytes);
    RankTrace trace;
    trace.left_out = in.get<std::uint64_t>();
    trace.events.resize(in.get_count());
    for (auto& event : trace.events) {
        event.row = in.get_text();
        event.name = in.get_text();
        event.begin = in.get<double>();
        event.end = in.get<double>();
        event.bytes = in.get<std::uint64_t>();
        event.detail = in.get_text();
    }
    return trace;
}

void TraceText::add_line(std::string const& line) {
    text_ += is_first_ ? "\n" : ",\n";
    text_ += line;
    is_first_ = false;
}

void TraceText::add_rank(int rank, RankTrace const& trace) {
    auto const name = trace.left_out == 0 ? fmt::format("rank {}", rank)
                                          : fmt::format("rank {} ({} events left out)", rank, trace.left_out);
    auto const add_name = [&](char const* what, std::size_t thread, std::string const& text) {
        add_line(Json{{"ph", "M"}, {"name", what}, {"pid", rank}, {"tid", thread}, {"args", {{"name", text}}}}.dump());
    };
    add_name("process_name", 0, name);
    auto events = trace.events;
    std::ranges::stable_sort(events, {}, &TraceEvent::begin);
    std::map<std::string, Rows> rows;
    std::size_t threads = 0;
    for (auto const& event : events) {
        auto& own = rows[event.row];
        auto const free = std::ranges::find_if(own.ends, [&](double end) { return end <= event.begin; });
        auto const index = static_cast<std::size_t>(free - own.ends.begin());
        if (free == own.ends.end()) {
            own.ends.push_back(0);
            own.ids.push_back(++threads);
            add_name("thread_name", threads, index == 0 ? event.row : fmt::format("{} {}", event.row, index + 1));
        }
        own.ends[index] = event.end;
        Json json = {{"ph", "X"},
                     {"name", event.name},
                     {"pid", rank},
                     {"tid", own.ids[index]},
                     {"ts", event.begin * kMicroseconds},
                     {"dur", (event.end - event.begin) * kMicroseconds},
                     {"args", Json::object()}};
        if (event.bytes > 0) { json["args"]["bytes"] = event.bytes; }
        if (!event.detail.empty()) { json["args"]["on"] = event.detail; }
        add_line(json.dump());
    }
}

std::string TraceText::finish() {
    return std::move(text_) + "\n]}\n";
}

}  // namespace shardwise
