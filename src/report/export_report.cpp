#include "report/export_report.hpp"

#include <fmt/format.h>

#include "util/name_sets.hpp"
#include "util/units.hpp"

namespace shardwise {

std::string export_table(ExportReport const& report, char const* verb, std::string const& out, double seconds) {
    auto text = fmt::format("{}: {} {} tensors, {} in {} file{}, in {}: {}\n", out, verb, report.tensors,
                            format_bytes(report.tensor_bytes), report.files.size(), report.files.size() == 1 ? "" : "s",
                            format_seconds(seconds), format_rate(report.tensor_bytes, seconds));
    for (auto const& file : report.files) {
        text += fmt::format("  {}: {}\n", file.path, format_bytes(file.size_bytes));
    }
    if (!report.left_out.empty()) {
        text += fmt::format("  left out, because no rule or choice loads them: {}\n", fmt::join(report.left_out, ", "));
    }
    if (!report.not_quantized.empty()) {
        text += fmt::format("  not quantized, because they are no matrices of whole blocks: {}\n",
                            fmt::join(compress_names(report.not_quantized), ", "));
    }
    return text;
}

}  // namespace shardwise
