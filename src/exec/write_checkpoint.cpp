#include "exec/write_checkpoint.hpp"

#include <algorithm>
#include <filesystem>

namespace shardwise {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kWindowBytes = 16ULL << 20U;

/// Ranks meet again and again: one that has little to do must not wait for others longer than the deadline, and when
/// one fails the others need not go on to their end.
void write_windows(FillWindow const& fill, std::span<std::vector<Window> const> windows, CheckpointWriter& writer,
                   Communicator& communicator) {
    constexpr std::size_t kWindowsOfARound = 16;
    auto const& own = windows[static_cast<std::size_t>(communicator.rank())];
    std::size_t most = 0;
    for (auto const& list : windows) { most = std::max(most, list.size()); }
    std::vector<std::byte> bytes;
    for (std::size_t first = 0; first < most; first += kWindowsOfARound) {
        together(communicator, [&] {
            for (auto i = first; i < std::min(first + kWindowsOfARound, own.size()); ++i) {
                end_if_asked();
                bytes.resize(own[i].range.size());
                fill(own[i], bytes);
                writer.write(own[i], bytes);
            }
        });
    }
}

}  // namespace

void check_target_once(std::string const& out, std::string const& config_json, ExportOptions const& options,
                       Communicator& communicator) {
    together(communicator, [&] {
        if (communicator.rank() == 0) { check_target(out, config_json, options.overwrite); }
    });
}

std::vector<std::vector<Window>> deal_windows(CheckpointLayout const& layout, int ranks, std::uint64_t window_bytes) {
    auto const writer_of = deal_out(layout.files, ranks);
    std::vector<std::vector<Window>> windows;
    for (int rank = 0; rank < ranks; ++rank) { windows.push_back(windows_of(layout, writer_of, rank, window_bytes)); }
    return windows;
}

void write_checkpoint(CheckpointLayout const& layout, std::string const& config_json, std::string const& out,
                      FillWindow const& fill, Communicator& communicator) {
    CheckpointWriter writer(layout, out);
    auto const windows = deal_windows(layout, communicator.size(), kWindowBytes);
    write_windows(fill, windows, writer, communicator);
    put_in_place(layout, out, config_json, writer, communicator);
}

ExportReport report_of(CheckpointLayout const& layout, std::string const& out, Catalog const& source,
                       std::vector<bool> const& is_used) {
    ExportReport report;
    for (auto const& file : layout.files) {
        report.files.push_back({(fs::path(out) / file.name).string(), header_of(file).size() + file.data_bytes});
    }
    report.tensors = layout.tensor_count();
    report.tensor_bytes = layout.tensor_bytes();
    for (std::size_t i = 0; i < is_used.size(); ++i) {
        if (!is_used[i]) { report.left_out.push_back(source.tensors()[i].name); }
    }
    return report;
}

}  // namespace shardwise
