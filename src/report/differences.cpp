#include "report/differences.hpp"

#include <nlohmann/json.hpp>

namespace shardwise {

nlohmann::ordered_json differences_json(ParameterDifferences const& differences) {
    using Json = nlohmann::ordered_json;
    Json json = {{"missing", differences.missing},
                 {"unexpected", differences.unexpected},
                 {"mismatched", Json::array()}};
    for (auto const& [name, found, expected] : differences.mismatched) {
        json["mismatched"].push_back({{"name", name}, {"found", found}, {"expected", expected}});
    }
    return json;
}

}  // namespace shardwise
