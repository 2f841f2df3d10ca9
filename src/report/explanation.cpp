#include "report/explanation.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/parameters.hpp"
#include "plan/mapping_options.hpp"
#include "plan/planner.hpp"
#include "util/suggest.hpp"

namespace shardwise {
namespace {

/// Lines of one kind that are told; the others are counted.
constexpr std::size_t kMostLines = 8;

Parameter find(std::vector<Parameter> parameters, std::string const& name) {
    std::vector<std::string> names;
    for (auto& parameter : parameters) {
        if (parameter.name == name || std::ranges::count(parameter.aliases, name) > 0) { return std::move(parameter); }
        names.push_back(parameter.name);
    }
    auto const near = nearest(name, names);
    throw Error(Errc::input, fmt::format("--explain {}: the checkpoint gives no such parameter{}", name,
                                         near.empty() ? "" : fmt::format("; the nearest one is {}", near)));
}

std::string lines(std::string_view title, std::vector<std::string> const& list) {
    std::string text;
    for (std::size_t i = 0; i < std::min(list.size(), kMostLines); ++i) {
        text += fmt::format("  {:<9}{}\n", i == 0 ? title : "", list[i]);
    }
    if (list.size() > kMostLines) { text += fmt::format("  {:<9}... {} more\n", "", list.size() - kMostLines); }
    return text;
}

void collect_sources(Expression const& expression, std::vector<std::uint32_t>& sources) {
    if (expression.kind == Expression::Kind::source) { sources.push_back(expression.source); }
    for (auto const& input : expression.inputs) { collect_sources(input, sources); }
}

std::string file_name(FileRecord const& file) { return std::filesystem::path(file.path).filename().string(); }

std::string told(FileRange const& range, Plan const& plan) {
    return fmt::format("{} [{}, {})", file_name(plan.files[range.file]), range.begin, range.end());
}

std::vector<std::string> stored_lines(Parameter const& parameter, Catalog const& catalog) {
    std::vector<std::uint32_t> sources;
    collect_sources(parameter.value, sources);
    std::vector<std::string> list;
    for (auto const source : sources) {
        auto const& tensor = catalog.tensors()[source];
        list.push_back(fmt::format("{}: {} {}, {} [{}, {})", tensor.name, to_string(tensor.dtype),
                                   to_string(tensor.shape), file_name(catalog.files()[tensor.file]), tensor.begin,
                                   tensor.begin + tensor.size_bytes));
    }
    return list;
}

/// Example: "[0, 4) x [6, 12), in its tensor from [0, 0] on".
std::vector<std::string> box_lines(Parameter const& parameter, Mesh const& mesh, std::int64_t rank) {
    std::vector<std::string> list;
    for (auto const& box : held_boxes(parameter.placement, parameter.value.shape, mesh, rank)) {
        std::vector<std::string> ranges;
        for (auto const& range : box.indices) { ranges.push_back(fmt::format("[{}, {})", range.begin, range.end)); }
        list.push_back(fmt::format("{}, in its tensor from [{}] on", fmt::join(ranges, " x "),
                                   fmt::join(box.local_begin, ", ")));
    }
    return list;
}

std::vector<std::string> read_lines(Plan const& plan) {
    std::vector<std::string> list;
    for (auto const& read : plan.direct) {
        std::uint64_t runs = 0;
        for (auto const& block : plan.blocks_of(read)) { runs += block.runs(); }
        list.push_back(fmt::format("{} for itself, {} run(s) of it{}", told(read.range, plan), runs,
                                   read.is_scattered ? ", straight into place" : ""));
    }
    for (std::size_t wave = 0; wave < plan.waves.size(); ++wave) {
        for (auto const& read : plan.waves[wave].reads) {
            list.push_back(fmt::format("{} for all, wave {}", told(read.range, plan), wave));
        }
    }
    for (auto const& scaling : plan.scalings) { list.push_back(fmt::format("{}, scales", told(scaling.range, plan))); }
    return list;
}

std::vector<std::string> take_lines(Plan const& plan) {
    std::vector<std::string> list;
    for (std::size_t wave = 0; wave < plan.waves.size(); ++wave) {
        for (auto const& receive : plan.waves[wave].receives) {
            list.push_back(fmt::format("{} B of what rank {} read, wave {}", receive.bytes, receive.peer, wave));
        }
    }
    return list;
}

std::string rank_text(Parameter const& parameter, Plan const& plan) {
    if (plan.tensors.empty()) { return fmt::format("rank {}: of another stage\n", plan.rank); }
    auto const& tensor = plan.tensors.front();
    return fmt::format("rank {}: {}, {} B\n", plan.rank, to_string(tensor.local_shape), tensor.size_bytes) +
           lines("holds", box_lines(parameter, plan.mesh, plan.rank)) + lines("reads", read_lines(plan)) +
           lines("takes", take_lines(plan));
}

}  // namespace

std::string explain_parameter(Catalog const& catalog, Architecture const& architecture, PlanOptions options,
                              std::string const& name, std::span<FileFacts const> facts, std::int64_t first,
                              std::int64_t last) {
    options.strict = false;  // about one parameter, whatever the others are
    auto const parameter = find(map_parameters(catalog, architecture, mapping_options(options)).list, name);
    auto text = fmt::format("{}: {} {}\n", parameter.name, to_string(parameter.value.dtype),
                            to_string(parameter.value.shape));
    if (!parameter.aliases.empty()) { text += lines("is also", parameter.aliases); }
    text += lines("made by", {to_string(parameter.value, catalog)});
    text += lines("stored", stored_lines(parameter, catalog));
    text += lines("cut", {fmt::format("{} (plan {} of {})", to_string(parameter.placement), options.plan,
                                      architecture.family())});
    for (auto rank = first; rank <= last; ++rank) {
        Parameters alone;
        alone.list.push_back(parameter);
        text += rank_text(parameter, plan_parameters(catalog, std::move(alone), options, rank, facts));
    }
    return text;
}

}  // namespace shardwise
