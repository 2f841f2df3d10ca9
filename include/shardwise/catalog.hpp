/// @file
/// What the files of a checkpoint hold: names, types, shapes and byte ranges. No tensor data is read for it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <shardwise/dtype.hpp>
#include <shardwise/shape.hpp>

namespace shardwise {

class Context;

/// One file of the checkpoint.
struct FileRecord {
    std::string path;              ///< as it is opened
    std::uint64_t size_bytes = 0;  ///< of the whole file
    std::uint64_t data_begin = 0;  ///< offset of the first byte after the header
    std::map<std::string, std::string> metadata = {};  ///< what its writer noted in the header, such as format: pt
    bool operator==(FileRecord const&) const = default;
};

/// One stored tensor. Its bytes are [begin, begin + size_bytes) of its file, row-major.
struct TensorRecord {
    std::string name;
    DType dtype = DType::u8;
    Shape shape;
    std::uint32_t file = 0;  ///< index into Catalog::files()
    std::uint64_t begin = 0;
    std::uint64_t size_bytes = 0;
    bool operator==(TensorRecord const&) const = default;
};

/// The whole checkpoint, checked: every range lies in its file, no name occurs twice, the index is honoured.
class Catalog {
   public:
    /// The parts of a checked catalog; tensors may come in any order.
    struct Parts {
        std::string root;
        std::string config_json;
        std::string index_name;
        std::vector<FileRecord> files;
        std::vector<TensorRecord> tensors;
        std::vector<std::string> warnings;
    };

    explicit Catalog(Parts parts);

    /// Reads the headers of the checkpoint at @p path: a folder, a single .safetensors file, an index file, or a
    /// hub cache folder (models--...). One process; use the other overload in an MPI job.
    /// @throws Error io; Error input naming the file and what is wrong in it.
    static Catalog open(std::string const& path);

    /// The same over all ranks of @p context (collective): each header is read and parsed by exactly one rank and
    /// shared in binary. All ranks throw the same error.
    static Catalog open(std::string const& path, Context& context);

    std::string const& root() const noexcept { return parts_.root; }

    /// Text of config.json; empty if there is none.
    std::string const& config_json() const noexcept { return parts_.config_json; }

    /// Name of the index file in the folder; empty if the checkpoint has none.
    std::string const& index_name() const noexcept { return parts_.index_name; }

    std::span<FileRecord const> files() const noexcept { return parts_.files; }

    /// In natural order of names.
    std::span<TensorRecord const> tensors() const noexcept { return parts_.tensors; }

    /// Index of the tensor of that name in tensors().
    std::optional<std::uint32_t> find(std::string_view name) const noexcept;

    /// Things worth telling that do not stop a load, one sentence each.
    std::span<std::string const> warnings() const noexcept { return parts_.warnings; }

    /// Sum of the tensors' sizes.
    std::uint64_t tensor_bytes() const noexcept;

   private:
    static constexpr std::uint32_t kNoTensor = ~std::uint32_t{0};

    std::size_t slot_of(std::string_view name) const noexcept;
    void index_names();

    Parts parts_;
    std::vector<std::uint32_t> slots_;  ///< indices of tensors, each at or after the place that its name hashes to
};

}  // namespace shardwise
