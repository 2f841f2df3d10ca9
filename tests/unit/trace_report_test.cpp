#include "report/trace_report.hpp"

#include <map>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

namespace shardwise::test {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;

TEST(TraceReport, EventsThatOverlapGetRowsOfTheirOwn) {
    RankTrace const trace = {{{"reads", "uring", 0.000, 0.004, 100, "file 0 [0, 100)"},
                              {"lane 0", "place", 0.004, 0.005, 100},
                              {"reads", "uring", 0.001, 0.003, 50},
                              {"reads", "uring", 0.003, 0.006, 70}},
                             3};
    TraceText text;
    text.add_rank(4, decode_rank_trace(encode(trace)));
    text.add_rank(5, {});
    auto const json = Json::parse(text.finish());
    std::map<int, std::string> names;
    std::map<int, std::vector<double>> begins;
    std::vector<std::string> processes;
    for (auto const& event : json["traceEvents"]) {
        if (event["name"] == "process_name") { processes.push_back(event["args"]["name"]); }
        if (event["name"] == "thread_name") { names[event["tid"]] = event["args"]["name"]; }
        if (event["ph"] == "X") { begins[event["tid"]].push_back(event["ts"]); }
    }
    EXPECT_THAT(processes, ElementsAre("rank 4 (3 events left out)", "rank 5"));
    EXPECT_THAT(names, ElementsAre(std::pair(1, "reads"), std::pair(2, "reads 2"), std::pair(3, "lane 0")));
    EXPECT_THAT(begins[1], ElementsAre(0.0));
    EXPECT_THAT(begins[2], ElementsAre(1000.0, 3000.0));
    EXPECT_THAT(begins[3], ElementsAre(4000.0));
    auto const& first = json["traceEvents"][2];
    EXPECT_EQ(first["dur"], 4000.0);
    EXPECT_EQ(first["args"]["bytes"], 100);
    EXPECT_EQ(first["args"]["on"], "file 0 [0, 100)");
    EXPECT_EQ(first["pid"], 4);
}

TEST(TraceReport, ALogKeepsTheFirstEventsAndCountsTheOthers) {
    TraceLog log;
    for (std::size_t i = 0; i < TraceLog::kMostEvents + 5; ++i) { log.add({"row", "name", 0, 0}); }
    EXPECT_EQ(log.events().size(), TraceLog::kMostEvents);
    EXPECT_EQ(log.left_out(), 5U);
}

}  // namespace
}  // namespace shardwise::test
