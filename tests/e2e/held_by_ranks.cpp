// held_by_ranks ROOT: what every rank would hold of each checkpoint ROOT/NAME, worked out by the library's rules and
// index maps in one process: a line of JSON for each parameter and rank, or for each checkpoint that is refused.
// Tensors are I32. A plan "ep" is looked at where there is one.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "mapping/architecture_data.hpp"
#include "mapping/parameters.hpp"
#include "support/read_view.hpp"
#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/error.hpp>

namespace shardwise::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

NaiveTensor read_tensor(Catalog const& catalog, TensorRecord const& record) {
    std::vector<std::int32_t> elements(record.size_bytes / sizeof(std::int32_t));
    std::ifstream file(catalog.files()[record.file].path, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(record.begin));
    file.read(reinterpret_cast<char*>(elements.data()), static_cast<std::streamsize>(record.size_bytes));
    return {record.shape, {elements.begin(), elements.end()}};
}

NaiveTensor held(Parameter const& parameter, std::vector<NaiveTensor> const& contents, Mesh const& mesh,
                 std::int64_t rank) {
    auto view = evaluate(parameter.value);
    auto const ranges = held_ranges(parameter.placement, view.shape, mesh, rank);
    for (std::size_t dim = 0; dim < ranges.size(); ++dim) {
        std::vector<View> parts = {slice(view, dim, 0, 0)};
        for (auto const& range : ranges[dim]) { parts.push_back(slice(view, dim, range.begin, range.end)); }
        view = concatenate(std::move(parts), dim);
    }
    return read_view(view, contents);
}

void print_case(std::string const& name, fs::path const& folder) {
    auto const catalog = Catalog::open(folder.string());
    auto const architecture = Architecture::for_config(catalog.config_json());
    std::vector<NaiveTensor> contents;
    for (auto const& record : catalog.tensors()) { contents.push_back(read_tensor(catalog, record)); }
    auto const data = architecture.data_for(catalog.config_json());
    for (std::string const plan : {"tp", "ep"}) {
        if (!data->plans.contains(plan)) { continue; }
        for (std::int64_t tp = 1; tp <= (plan == "ep" ? 2 : 3); ++tp) {
            MappingOptions options;
            options.mesh.tp = tp;
            options.plan = plan;
            for (auto const& parameter : map_parameters(catalog, architecture, options).list) {
                for (std::int64_t rank = 0; rank < tp; ++rank) {
                    auto const tensor = held(parameter, contents, options.mesh, rank);
                    std::vector<std::int64_t> shape;
                    for (std::size_t dim = 0; dim < tensor.shape.rank(); ++dim) { shape.push_back(tensor.shape[dim]); }
                    Json const line = {name, plan, tp, rank, parameter.name, shape, tensor.values, parameter.aliases};
                    fmt::print("{}\n", line.dump());
                }
            }
        }
    }
}

}  // namespace
}  // namespace shardwise::test

int main(int count, char** arguments) {
    if (count != 2) { return 2; }
    for (auto const& entry : std::filesystem::directory_iterator(arguments[1])) {
        auto const name = entry.path().filename().string();
        try {
            shardwise::test::print_case(name, entry.path());
        } catch (shardwise::Error const& error) { fmt::print("{}\n", nlohmann::json{name, error.what()}.dump()); }
    }
    return testing::UnitTest::GetInstance()->Failed() ? 1 : 0;
}
