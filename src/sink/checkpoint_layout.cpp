#include "sink/checkpoint_layout.hpp"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <tuple>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "sink/safetensors_writer.hpp"

namespace shardwise {
namespace {

constexpr char const* kUsualIndex = "model.safetensors.index.json";

void append(OutputFile& file, OutputTensor tensor) {
    tensor.begin = file.data_bytes;
    file.data_bytes += tensor.size_bytes;
    file.tensors.push_back(std::move(tensor));
}

std::vector<TensorEntry> entries_of(std::span<OutputTensor const> tensors) {
    std::vector<TensorEntry> entries;
    for (auto const& tensor : tensors) {
        entries.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.size_bytes});
    }
    return entries;
}

OutputFile file_of(std::vector<OutputTensor> tensors, HeaderNotes const& metadata) {
    OutputFile file;
    file.metadata = metadata;
    for (auto const index : safetensors_order(entries_of(tensors))) { append(file, std::move(tensors[index])); }
    return file;
}

}  // namespace

std::uint64_t CheckpointLayout::tensor_bytes() const noexcept {
    return std::accumulate(files.begin(), files.end(), std::uint64_t{0},
                           [](std::uint64_t sum, OutputFile const& file) { return sum + file.data_bytes; });
}

std::size_t CheckpointLayout::tensor_count() const noexcept {
    return std::accumulate(files.begin(), files.end(), std::size_t{0},
                           [](std::size_t sum, OutputFile const& file) { return sum + file.tensors.size(); });
}

CheckpointLayout layout_like(Catalog const& source, std::vector<bool> const& is_kept) {
    std::vector<std::uint32_t> order(source.tensors().size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        auto const& first = source.tensors()[a];
        auto const& second = source.tensors()[b];
        return std::tie(first.file, first.begin, first.size_bytes) <
               std::tie(second.file, second.begin, second.size_bytes);
    });
    CheckpointLayout layout;
    for (auto const& file : source.files()) {
        layout.files.push_back({std::filesystem::path(file.path).filename().string(), file.metadata, {}, 0});
    }
    for (auto const item : order) {
        auto const& tensor = source.tensors()[item];
        if (!is_kept[item]) { continue; }
        append(layout.files[tensor.file], {tensor.name, tensor.dtype, tensor.shape, tensor.size_bytes, item, 0});
    }
    std::erase_if(layout.files, [](OutputFile const& file) { return file.tensors.empty(); });
    layout.index_name = source.index_name();
    if (layout.index_name.empty() && layout.files.size() > 1) { layout.index_name = kUsualIndex; }
    return layout;
}

void put_wide_first(CheckpointLayout& layout) {
    for (auto& file : layout.files) {
        auto name = std::move(file.name);
        file = file_of(std::move(file.tensors), file.metadata);
        file.name = std::move(name);
    }
}

CheckpointLayout layout_split(std::vector<OutputTensor> tensors, HeaderNotes const& metadata,
                              std::uint64_t most_bytes) {
    std::vector<std::vector<OutputTensor>> groups;
    std::uint64_t in_last = 0;
    for (auto& tensor : tensors) {
        bool const fits = in_last <= most_bytes && tensor.size_bytes <= most_bytes - in_last;
        bool const is_full = groups.empty() || (in_last > 0 && !fits);
        if (is_full) {
            groups.emplace_back();
            in_last = 0;
        }
        in_last += tensor.size_bytes;
        groups.back().push_back(std::move(tensor));
    }
    CheckpointLayout layout;
    for (auto& group : groups) {
        layout.files.push_back(file_of(std::move(group), metadata));
        layout.files.back().name =
            groups.size() == 1 ? "model.safetensors"
                               : fmt::format("model-{:05}-of-{:05}.safetensors", layout.files.size(), groups.size());
    }
    if (groups.size() > 1) { layout.index_name = kUsualIndex; }
    return layout;
}

std::string header_of(OutputFile const& file) {
    constexpr std::uint64_t kAlignment = 8;  // the reference implementation's
    return safetensors_header(entries_of(file.tensors), file.metadata, kAlignment);
}

std::string index_json(CheckpointLayout const& layout) {
    nlohmann::json json = {{"metadata", {{"total_size", layout.tensor_bytes()}}},
                           {"weight_map", nlohmann::json::object()}};
    for (auto const& file : layout.files) {
        for (auto const& tensor : file.tensors) { json["weight_map"][tensor.name] = file.name; }
    }
    return json.dump(2) + "\n";
}

std::vector<int> deal_out(std::span<OutputFile const> files, int ranks) {
    std::vector<std::size_t> order(files.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return files[a].data_bytes > files[b].data_bytes; });
    std::vector<std::uint64_t> load(static_cast<std::size_t>(ranks), 0);
    std::vector<int> writer_of(files.size(), 0);
    for (auto const file : order) {
        auto const least = std::min_element(load.begin(), load.end());
        writer_of[file] = static_cast<int>(least - load.begin());
        *least += files[file].data_bytes + 1;  // even an empty one is work
    }
    return writer_of;
}

}  // namespace shardwise
