// Writes a checkpoint of any size with the names and layout of published ones: config.json, index, several safetensors
// files. Content depends on seed, tensor name and position alone: the 64-bit word k of a tensor is splitmix64 of
// (XXH3(name, seed) + k), so any byte of any slice can be checked without the rest.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <numeric>

#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <xxhash.h>

#include <shardwise/dtype.hpp>
#include <shardwise/error.hpp>

#include "model_shapes.hpp"
#include "sink/atomic_file.hpp"
#include "sink/safetensors_writer.hpp"
#include "util/natural_order.hpp"
#include "util/units.hpp"

namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;
using namespace shardwise;
using namespace shardwise::bench;

constexpr std::uint64_t kReferenceAlignment = 8;  ///< of data in files that the reference implementation writes

std::uint64_t splitmix64(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15ULL;
    x = (x ^ x >> 30U) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ x >> 27U) * 0x94D049BB133111EBULL;
    return x ^ x >> 31U;
}

struct File {
    std::string name;
    std::vector<TensorEntry> tensors;
};

/// Tensors in module order, cut into files of about equal size, as published checkpoints are.
std::vector<File> deal_to_files(std::vector<ModelTensor> const& tensors, DType dtype, std::size_t count) {
    std::vector<TensorEntry> entries;
    std::uint64_t total = 0;
    for (auto const& tensor : tensors) {
        auto const size = static_cast<std::uint64_t>(tensor.shape.num_elements() * bits(dtype) / 8);
        entries.push_back({tensor.name, dtype, tensor.shape, size});
        total += size;
    }
    std::vector<File> files(count);
    std::uint64_t passed = 0;
    for (auto const& entry : entries) {
        files[std::min(count - 1, static_cast<std::size_t>(passed / (total / count + 1)))].tensors.push_back(entry);
        passed += entry.size_bytes;
    }
    std::erase_if(files, [](File const& file) { return file.tensors.empty(); });
    for (std::size_t i = 0; i < files.size(); ++i) {
        files[i].name = files.size() == 1 ? "model.safetensors"
                                          : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, files.size());
    }
    return files;
}

void write_content(FileWriter& writer, TensorEntry const& tensor, std::uint64_t seed) {
    constexpr std::uint64_t kWordsAtOnce = 1U << 17U;
    auto const start = XXH3_64bits_withSeed(tensor.name.data(), tensor.name.size(), seed);
    std::vector<std::uint64_t> words(kWordsAtOnce);
    for (std::uint64_t at = 0; at < tensor.size_bytes; at += kWordsAtOnce * sizeof(std::uint64_t)) {
        auto const first = at / sizeof(std::uint64_t);
        for (std::uint64_t i = 0; i < kWordsAtOnce; ++i) { words[i] = splitmix64(start + first + i); }
        writer.write(std::as_bytes(std::span(words))
                         .first(std::min(kWordsAtOnce * sizeof(std::uint64_t), tensor.size_bytes - at)));
    }
}

void write_tensors(File& file, fs::path const& folder, std::uint64_t seed, std::uint64_t alignment) {
    auto const order = safetensors_order(file.tensors);
    std::vector<TensorEntry> ordered;
    std::uint64_t bytes = 0;
    for (auto const index : order) {
        ordered.push_back(file.tensors[index]);
        bytes += ordered.back().size_bytes;
    }
    auto const header = safetensors_header(ordered, {{"format", "pt"}}, alignment);
    PendingFile pending((folder / file.name).string());
    FileWriter writer(pending, header.size() + bytes);
    writer.write(std::as_bytes(std::span(header)));
    for (auto const& tensor : ordered) { write_content(writer, tensor, seed); }
    writer.close();
    pending.commit();
}

std::string index_of(std::vector<File> const& files) {
    nlohmann::ordered_json index = {{"metadata", {{"total_size", 0}}},
                                    {"weight_map", nlohmann::ordered_json::object()}};
    std::uint64_t total = 0;
    std::vector<std::pair<std::string, std::string>> owners;
    for (auto const& file : files) {
        for (auto const& tensor : file.tensors) {
            owners.emplace_back(tensor.name, file.name);
            total += tensor.size_bytes;
        }
    }
    std::sort(owners.begin(), owners.end(),
              [](auto const& a, auto const& b) { return natural_name_less(a.first, b.first); });
    for (auto const& [tensor, file] : owners) { index["weight_map"][tensor] = file; }
    index["metadata"]["total_size"] = total;
    return index.dump(2) + "\n";
}

void run(po::variables_map const& values) {
    auto sizes = sizes_of_preset(values["preset"].as<std::string>());
    auto const take = [&](char const* option, std::int64_t& size) {
        if (values.count(option) > 0) { size = values[option].as<std::int64_t>(); }
    };
    if (values.count("arch") > 0) { sizes.model_type = values["arch"].as<std::string>(); }
    take("layers", sizes.layers);
    take("hidden", sizes.hidden);
    take("intermediate", sizes.intermediate);
    take("heads", sizes.heads);
    take("kv-heads", sizes.kv_heads);
    take("head-dim", sizes.head_dim);
    take("vocab", sizes.vocabulary);
    take("experts", sizes.experts);
    sizes.is_tied = sizes.is_tied || values["tied"].as<bool>();

    auto const dtype = parse_dtype(values["dtype"].as<std::string>());
    if (!dtype || bits(*dtype) < 8) {
        throw Error(Errc::usage, fmt::format("--dtype {}: expected a type of whole bytes such as BF16",
                                             values["dtype"].as<std::string>()));
    }
    fs::path const folder = values["folder"].as<std::string>();
    auto const tensors = tensors_of(sizes);
    auto files = deal_to_files(tensors, *dtype, std::max<std::size_t>(1, values["files"].as<std::size_t>()));
    std::uint64_t bytes = 0;
    for (auto& file : files) {
        write_tensors(file, folder, values["seed"].as<std::uint64_t>(), values["align"].as<std::uint64_t>());
        for (auto const& tensor : file.tensors) { bytes += tensor.size_bytes; }
    }
    write_file_atomically((folder / "config.json").string(),
                          config_of(sizes, *dtype == DType::bf16 ? "bfloat16" : "float32"));
    if (files.size() > 1) {
        write_file_atomically((folder / "model.safetensors.index.json").string(), index_of(files));
    }
    fmt::print("{}: {}, {} tensors, {} in {} file(s)\n", folder.string(), sizes.model_type, tensors.size(),
               format_bytes(bytes), files.size());
}

}  // namespace

int main(int count, char** arguments) {
    po::options_description options("make_checkpoint FOLDER [options]: writes a made-up checkpoint with real names");
    options.add_options()
        ("folder", po::value<std::string>()->required(), "where to")
        ("preset", po::value<std::string>()->default_value("tiny"), "sizes to start from: tiny, llama-1b, moe-5gb")
        ("arch", po::value<std::string>(), "model type: llama, qwen2, mixtral, qwen3_moe, phi3, gpt_oss")
        ("layers", po::value<std::int64_t>(), "")
        ("hidden", po::value<std::int64_t>(), "")
        ("intermediate", po::value<std::int64_t>(), "")
        ("heads", po::value<std::int64_t>(), "")
        ("kv-heads", po::value<std::int64_t>(), "")
        ("head-dim", po::value<std::int64_t>(), "")
        ("vocab", po::value<std::int64_t>(), "")
        ("experts", po::value<std::int64_t>(), "")
        ("tied", po::bool_switch(), "no lm_head of its own")
        ("files", po::value<std::size_t>()->default_value(4), "files to cut into")
        ("dtype", po::value<std::string>()->default_value("BF16"), "of every tensor")
        ("align", po::value<std::uint64_t>()->default_value(kReferenceAlignment),
         "of the data in a file; at 4096 direct I/O lands in place wherever sizes of tensors are whole pages")
        ("seed", po::value<std::uint64_t>()->default_value(1), "of the content")
        ("help,h", "");
    po::positional_options_description positions;
    positions.add("folder", 1);
    try {
        po::variables_map values;
        po::store(po::command_line_parser(count, arguments).options(options).positional(positions).run(), values);
        if (values.count("help") > 0) {
            std::cout << options;
            return EXIT_SUCCESS;
        }
        po::notify(values);
        run(values);
        return EXIT_SUCCESS;
    } catch (Error const& error) {
        fmt::print(stderr, "make_checkpoint: {}\n", error.what());
        return error.exit_status();
    } catch (std::exception const& error) {
        fmt::print(stderr, "make_checkpoint: {}\n", error.what());
        return static_cast<int>(Errc::usage);
    }
}
