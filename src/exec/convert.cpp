#include <filesystem>

#include <fmt/format.h>

#include <shardwise/export.hpp>

#include "exec/object_reader.hpp"
#include "exec/quantized_outputs.hpp"
#include "exec/write_checkpoint.hpp"
#include "mapping/held_config.hpp"
#include "mapping/parameters.hpp"

namespace shardwise {
namespace {

namespace fs = std::filesystem;

/// True if the checkpoint lies in @p folder.
bool is_folder_of(Catalog const& catalog, std::string const& folder) {
    std::error_code ignored;
    return fs::equivalent(fs::path(catalog.files().front().path).parent_path(), folder, ignored);
}

std::string config_for(Catalog const& catalog, QuantizeOptions const& options, QuantizedOutputs const& outputs) {
    if (options.patterns.empty()) { return catalog.config_json(); }
    return quantized_config(catalog.config_json(),
                            {options.block_rows, options.block_columns, outputs.modules_left_alone()});
}

}  // namespace

ExportReport convert_checkpoint(Catalog const& catalog, Architecture const& architecture, std::string const& out,
                                ExportOptions const& options) {
    if (is_folder_of(catalog, out)) {
        throw Error(Errc::input,
                    fmt::format("{} is the folder of the checkpoint itself; convert into another one", out));
    }
    auto const parameters = map_parameters(catalog, architecture, {});
    QuantizedOutputs outputs(parameters.list, options.quantize);
    auto const config = config_for(catalog, options.quantize, outputs);
    auto const layout =
        layout_split(outputs.tensors(), {{"format", "pt"}}, options.max_file_bytes.value_or(kConvertedFileBytes));
    std::vector<std::string> paths;
    for (auto const& file : catalog.files()) { paths.push_back(file.path); }
    ObjectReader reader(std::move(paths), [&](int, std::uint32_t object) {
        auto const& stored = catalog.tensors()[object];
        return ObjectPlace{stored.file, stored.begin};
    });
    auto const communicator = make_self_communicator();
    check_target_once(out, config, options, *communicator);
    WindowParts parts(layout, outputs.plain_pieces());
    auto const fill = [&](Window const& window, std::span<std::byte> bytes) {
        reader.fill(parts.parts_of(window, 0), bytes);
        outputs.fill(layout, window, reader, bytes);
    };
    write_checkpoint(layout, config, out, fill, *communicator);
    auto report = report_of(layout, out, catalog, sources_of(parameters.list, catalog));
    report.not_quantized = outputs.left_alone();
    return report;
}

}  // namespace shardwise
