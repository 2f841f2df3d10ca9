// Placements of real models against those of an independent implementation, kept beside the checkout where there are
// any.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>

#include "mapping/parameters.hpp"

namespace shardwise::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// The placement as golden/*/plan.json writes it, with the parameter's shape.
Json describe(Parameter const& parameter) {
    auto const& cuts = parameter.placement.cuts;
    if (cuts.empty()) { return {{"kind", "replicate"}}; }
    Json json = {{"kind", to_string(cuts.front().kind)}, {"dim", cuts.front().dim}};
    if (cuts.front().kind == Placement::Kind::packed) {
        for (auto const& block : cuts.front().blocks) { json["blocks"].push_back(block.size); }
    }
    return json;
}

TEST(GoldenPlacements, EveryParameterOfEveryPlanIsWhereTheReferencePutIt) {
    fs::path const golden = fs::path(SHARDWISE_SHARED_DIR) / "golden";
    if (!fs::is_directory(golden)) { GTEST_SKIP() << golden << " is absent"; }
    int plans = 0;
    for (auto const& model : fs::directory_iterator(golden)) {
        auto const file = model.path() / "plan.json";
        if (!fs::exists(file)) { continue; }
        auto const expected = Json::parse(std::ifstream(file));
        auto const catalog = Catalog::open(model.path() / "ckpt");
        auto const architecture = Architecture::for_config(catalog.config_json());
        for (auto const& [name, plan] : expected.at("plans").items()) {
            SCOPED_TRACE(model.path().filename().string() + ", plan " + name);
            for (auto const& world : plan.value("checked_worlds", Json{2, 3})) {
                MappingOptions options;
                options.mesh.tp = world.get<std::int64_t>();
                options.plan = name;
                Json placements = Json::object();
                for (auto const& parameter : map_parameters(catalog, architecture, options).list) {
                    placements[parameter.name] = describe(parameter);
                }
                EXPECT_EQ(placements, plan.at("params")) << Json::diff(plan.at("params"), placements).dump(1);
            }
            ++plans;
        }
    }
    EXPECT_GT(plans, 0) << "no plan.json in " << golden;
}

}  // namespace
}  // namespace shardwise::test
