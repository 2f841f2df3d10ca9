#include "support/test_model.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>

#include <fmt/format.h>

#include "convert/cast.hpp"

namespace shardwise::test {
namespace {

std::vector<std::byte> random_bytes(std::mt19937& random, std::size_t count) {
    std::vector<std::byte> bytes(count);
    for (auto& byte : bytes) { byte = static_cast<std::byte>(random()); }
    return bytes;
}

std::string header_entry(TensorRecord const& tensor) {
    std::string shape;
    for (auto const extent : tensor.shape) { shape += fmt::format("{}{}", shape.empty() ? "" : ",", extent); }
    return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", tensor.name,
                       to_string(tensor.dtype), shape, tensor.begin, tensor.begin + tensor.size_bytes);
}

}  // namespace

TestModel::TestModel(Catalog catalog, std::vector<std::vector<std::byte>> files)
    : catalog_(std::move(catalog)), files_(std::move(files)) {
    std::int64_t next = 0;
    for (auto const& tensor : catalog_.tensors()) {
        first_element_.push_back(next);
        stored_.push_back(counting(tensor.shape, next));
        next += tensor.shape.num_elements();
    }
}

void TestModel::add(std::string name, Expression value, Placement placement) {
    wholes_.push_back(naive(value, stored_));
    parameters_.list.push_back({std::move(name), {}, std::move(value), std::move(placement)});
}

Expression TestModel::leaf(std::string const& name) const {
    auto const index = catalog_.find(name);
    if (!index) { throw std::logic_error("the test model has no " + name); }
    return stored(*index, catalog_.tensors()[*index]);
}

std::vector<std::byte> const& TestModel::expected(std::string const& name, std::int64_t rank) const {
    auto const in_copy = rank % (mesh.fsdp * mesh.tp);
    auto const [at, is_new] = expected_.try_emplace({name, in_copy});
    if (is_new) { at->second = work_out(name, in_copy); }
    return at->second;
}

std::vector<std::string> TestModel::names_on(std::int64_t rank) const {
    std::vector<std::string> names;
    for (auto const& parameter : parameters_.list) {
        if (naively_holds(parameter.placement, mesh, rank)) { names.push_back(parameter.name); }
    }
    return names;
}

TensorRecord const& TestModel::tensor_of(std::int64_t element) const {
    auto const after = std::upper_bound(first_element_.begin(), first_element_.end(), element);
    return catalog_.tensors()[static_cast<std::size_t>(after - first_element_.begin()) - 1];
}

std::vector<std::byte> TestModel::work_out(std::string const& name, std::int64_t rank) const {
    auto const found = std::find_if(parameters_.list.begin(), parameters_.list.end(),
                                    [&](Parameter const& p) { return p.name == name; });
    if (found == parameters_.list.end()) { throw std::logic_error("the test model has no parameter " + name); }
    auto const local =
        naive_cut(wholes_[static_cast<std::size_t>(found - parameters_.list.begin())], found->placement, mesh, rank);
    std::vector<std::byte> bytes;
    for (auto const number : local.values) {
        auto const& tensor = tensor_of(number);
        auto const element_bytes = static_cast<std::size_t>(bits(tensor.dtype)) / 8;
        auto const first = first_element_[static_cast<std::size_t>(&tensor - catalog_.tensors().data())];
        auto const at = tensor.begin + static_cast<std::uint64_t>(number - first) * element_bytes;
        auto const stored = std::span(files_[tensor.file]).subspan(at, element_bytes);
        std::vector<std::byte> element(stored.begin(), stored.end());
        if (tensor.dtype != found->value.dtype) {
            element.resize(static_cast<std::size_t>(bits(found->value.dtype)) / 8);
            cast_reference(tensor.dtype, stored, found->value.dtype, element);
        }
        bytes.insert(bytes.end(), element.begin(), element.end());
    }
    return bytes;
}

std::uint64_t TestModel::needed_bytes() const {
    std::set<std::int64_t> numbers;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < wholes_.size(); ++i) {
        for (std::int64_t rank = 0; rank < mesh.fsdp * mesh.tp; ++rank) {
            for (auto const number : naive_cut(wholes_[i], parameters_.list[i].placement, mesh, rank).values) {
                auto const element_bits = static_cast<std::uint64_t>(bits(tensor_of(number).dtype));
                bytes += numbers.insert(number).second ? element_bits / 8 : 0;
            }
        }
    }
    return bytes;
}

void TestModel::write() const {
    std::filesystem::create_directories(catalog_.root());
    for (std::size_t i = 0; i < files_.size(); ++i) {
        std::ofstream out(catalog_.files()[i].path, std::ios::binary);
        out.write(reinterpret_cast<char const*>(files_[i].data()), static_cast<std::streamsize>(files_[i].size()));
        if (!out.flush()) { throw std::runtime_error("cannot write " + catalog_.files()[i].path); }
    }
    if (!catalog_.config_json().empty()) {
        std::ofstream(std::filesystem::path(catalog_.root()) / "config.json") << catalog_.config_json();
    }
}

ModelBuilder::ModelBuilder(std::string folder, std::uint32_t seed) : folder_(std::move(folder)), random_(seed) {
    parts_.root = folder_;
}

void ModelBuilder::add(std::string name, DType dtype, Shape shape) {
    TensorRecord tensor;
    tensor.name = std::move(name);
    tensor.dtype = dtype;
    tensor.shape = shape;
    tensor.size_bytes = static_cast<std::uint64_t>(shape.num_elements()) * static_cast<std::uint64_t>(bits(dtype)) / 8;
    tensor.begin = in_file_.empty() ? 0 : in_file_.back().begin + in_file_.back().size_bytes;
    in_file_.push_back(std::move(tensor));
}

void ModelBuilder::next_file() {
    if (in_file_.empty()) { return; }
    std::string header = "{";
    for (auto const& tensor : in_file_) { header += (header.size() > 1 ? "," : "") + header_entry(tensor); }
    header += "}" + std::string(random_() % 8, ' ');

    std::vector<std::byte> bytes(8 + header.size());
    std::uint64_t const length = header.size();
    std::memcpy(bytes.data(), &length, 8);
    std::memcpy(bytes.data() + 8, header.data(), header.size());
    auto const data = random_bytes(random_, in_file_.back().begin + in_file_.back().size_bytes);
    for (auto& tensor : in_file_) {
        tensor.begin += bytes.size();
        tensor.file = static_cast<std::uint32_t>(files_.size());
        parts_.tensors.push_back(std::move(tensor));
    }
    in_file_.clear();
    auto const name = fmt::format("part-{}.safetensors", files_.size());
    parts_.files.push_back(
        {(std::filesystem::path(folder_) / name).string(), bytes.size() + data.size(), bytes.size()});
    bytes.insert(bytes.end(), data.begin(), data.end());
    files_.push_back(std::move(bytes));
}

TestModel ModelBuilder::finish(std::string config_json) {
    next_file();
    parts_.config_json = std::move(config_json);
    return {Catalog(std::move(parts_)), std::move(files_)};
}

}  // namespace shardwise::test
