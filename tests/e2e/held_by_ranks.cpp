// held_by_ranks ROOT: what every rank would hold of each checkpoint ROOT/NAME, worked out by the library's rules and
// index maps in one process: a line of JSON for each parameter and rank, or for each checkpoint that is refused.
// Tensors are I32. Where ROOT/NAME/expected.json states the model's parameters they are what --expect says. A plan "ep"
// is looked at where there is one. What the ranks hold must give back the stored tensors.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/error.hpp>

#include "convert/runs.hpp"
#include "exec/output_pieces.hpp"
#include "mapping/architecture_data.hpp"
#include "mapping/parameters.hpp"
#include "support/read_view.hpp"

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
        auto joined = slice(view, dim, 0, 0);
        for (auto const& range : ranges[dim]) { append(joined, slice(view, dim, range.begin, range.end), dim); }
        view = std::move(joined);
    }
    return read_view(view, contents);
}

/// What every rank holds of every parameter, each in the order of the list.
using Held = std::vector<std::vector<NaiveTensor>>;

/// Stored tensors that are not what they were when put together out of what the ranks hold.
std::vector<std::string> lost_on_the_way_back(Catalog const& catalog, Parameters parameters, Mesh const& mesh,
                                              Held const& held, std::vector<NaiveTensor> const& contents) {
    constexpr std::uint64_t kElement = sizeof(std::int32_t);
    std::vector<std::string> lost;
    ShardPieces pieces(catalog, std::move(parameters), mesh);
    for (std::uint32_t item = 0; item < contents.size(); ++item) {
        if (!pieces.is_held()[item]) { continue; }
        std::vector<std::int64_t> elements(contents[item].values.size(), -1);
        for (auto const& [holder, block] : pieces.pieces_of(item, 0)) {
            auto const& local = held[block.tensor][static_cast<std::size_t>(holder)].values;
            for_each_run(block, [&](std::uint64_t at, std::uint64_t from, std::uint64_t size) {
                for (std::uint64_t i = 0; i < size; i += kElement) {
                    elements.at((at + i) / kElement) = local.at((from + i) / kElement);
                }
            });
        }
        if (elements != contents[item].values) { lost.push_back(catalog.tensors()[item].name); }
    }
    return lost;
}

void print_ranks(std::string const& name, Catalog const& catalog, std::vector<NaiveTensor> const& contents,
                 MappingOptions const& options) {
    auto const architecture = Architecture::for_config(catalog.config_json());
    auto parameters = map_parameters(catalog, architecture, options);
    auto const tp = options.mesh.tp;
    Held all;
    for (auto const& parameter : parameters.list) {
        auto& ranks = all.emplace_back();
        for (std::int64_t rank = 0; rank < tp; ++rank) {
            auto const& tensor = ranks.emplace_back(held(parameter, contents, options.mesh, rank));
            std::vector<std::int64_t> const shape(tensor.shape.begin(), tensor.shape.end());
            Json const line = {name,  options.plan,  tp,               rank, parameter.name,
                               shape, tensor.values, parameter.aliases};
            fmt::print("{}\n", line.dump());
        }
    }
    auto const lost = lost_on_the_way_back(catalog, std::move(parameters), options.mesh, all, contents);
    if (!lost.empty()) {
        throw Error(Errc::input, fmt::format("plan {}, tp {}: on the way back other values: {}", options.plan, tp,
                                             fmt::join(lost, ", ")));
    }
}

void print_case(std::string const& name, fs::path const& folder) {
    auto const catalog = Catalog::open(folder.string());
    std::vector<NaiveTensor> contents;
    for (auto const& record : catalog.tensors()) { contents.push_back(read_tensor(catalog, record)); }
    auto const data = Architecture::for_config(catalog.config_json()).data_for(catalog.config_json());
    auto const stated = folder / "expected.json";
    auto const expected = fs::exists(stated) ? read_expectation(stated.string()) : Expectation();
    std::map<std::string, std::vector<std::int64_t>> const worlds = {{"tp", {1, 2, 3, 4, 8}}, {"ep", {1, 2}}};
    for (auto const& [plan, sizes] : worlds) {
        if (!data->plans.contains(plan)) { continue; }
        for (auto const tp : sizes) {
            MappingOptions options;
            options.mesh.tp = tp;
            options.plan = plan;
            options.expected = expected;
            print_ranks(name, catalog, contents, options);
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
