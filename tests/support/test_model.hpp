/// @file
/// Checkpoints made for tests, with what every rank must hold of them worked out on whole tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <shardwise/catalog.hpp>

#include "mapping/parameters.hpp"
#include "support/naive_tensor.hpp"

namespace shardwise::test {

/// A checkpoint as bytes, and the parameters that are made of it. Expectations come from NaiveTensor alone.
class TestModel {
   public:
    TestModel(Catalog catalog, std::vector<std::vector<std::byte>> files);

    Catalog const& catalog() const noexcept { return catalog_; }
    Parameters const& parameters() const noexcept { return parameters_; }

    /// Whole contents, header included, by number of file.
    std::vector<std::vector<std::byte>> const& files() const noexcept { return files_; }

    /// Adds a parameter; leaves of @p value are numbers of catalog tensors.
    void add(std::string name, Expression value, Placement placement);

    /// The stored tensor of that name as an expression.
    Expression leaf(std::string const& name) const;

    /// The mesh that placements are made for.
    Mesh mesh;

    /// What @p rank must hold of the parameter @p name.
    std::vector<std::byte> const& expected(std::string const& name, std::int64_t rank) const;

    /// Names of what @p rank must hold, in the order of the parameters.
    std::vector<std::string> names_on(std::int64_t rank) const;

    /// Stored bytes that some rank needs, each counted once.
    std::uint64_t needed_bytes() const;

    /// Writes all files and config.json to where the catalog says they are.
    void write() const;

   private:
    /// The stored tensor that an element of the checkpoint belongs to.
    TensorRecord const& tensor_of(std::int64_t element) const;
    std::vector<std::byte> work_out(std::string const& name, std::int64_t rank) const;

    Catalog catalog_;
    std::vector<std::vector<std::byte>> files_;
    std::vector<std::int64_t> first_element_;  ///< by stored tensor: elements are numbered through the whole checkpoint
    std::vector<NaiveTensor> stored_;          ///< each element its number
    Parameters parameters_;
    std::vector<NaiveTensor> wholes_;                                                          ///< by parameter
    mutable std::map<std::pair<std::string, std::int64_t>, std::vector<std::byte>> expected_;  ///< what was worked out
};

/// Fills safetensors files with random bytes. Headers are padded to odd lengths, so data begins anywhere.
class ModelBuilder {
   public:
    ModelBuilder(std::string folder, std::uint32_t seed);

    void add(std::string name, DType dtype, Shape shape);

    /// What follows goes into another file.
    void next_file();

    TestModel finish(std::string config_json = {});

   private:
    std::string folder_;
    std::mt19937 random_;
    Catalog::Parts parts_;
    std::vector<std::vector<std::byte>> files_;
    std::vector<TensorRecord> in_file_;  ///< of the file being filled; begin counts from its data
};

/// Conversions of every kind over awkward shapes: `random_cases` random chains, and a set large enough to need several
/// requests and waves with the least staging memory. Some of 3 files' tensors feed several parameters. With casts, some
/// parameters have another type than their sources, which lie at any offset.
enum class Casts : std::uint8_t { some, none };
TestModel mixed_model(std::string const& folder, std::uint32_t seed, Mesh const& mesh, int random_cases,
                      Casts casts = Casts::some);

/// A small model of that type ("llama", "phi3", "mixtral") in its stored names, and its parameters under plan "tp",
/// spelt out. Llama has 2 layers, the others 1.
TestModel small_llama(std::string const& folder, Mesh const& mesh);
TestModel small_phi3(std::string const& folder, Mesh const& mesh);
TestModel small_mixtral(std::string const& folder, Mesh const& mesh);

/// The small Mixtral under plan "ep": 3 experts, which go to 2 or 4 ranks unevenly.
TestModel small_mixtral_by_experts(std::string const& folder, Mesh const& mesh);

}  // namespace shardwise::test
