/// @file
/// Which tensors go into which file of a checkpoint that is to be written: pure, before any byte of it is.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <shardwise/catalog.hpp>

namespace shardwise {

/// One tensor of a checkpoint to be written.
struct OutputTensor {
    std::string name;
    DType dtype = DType::u8;
    Shape shape;
    std::uint64_t size_bytes = 0;
    std::uint32_t item = 0;   ///< what the maker of the layout calls it
    std::uint64_t begin = 0;  ///< in the data of its file; set by the layout
    std::uint64_t end() const noexcept { return begin + size_bytes; }
};

using HeaderNotes = std::map<std::string, std::string>;

/// One file: its tensors follow each other without gaps.
struct OutputFile {
    std::string name;
    HeaderNotes metadata;
    std::vector<OutputTensor> tensors;
    std::uint64_t data_bytes = 0;
};

/// All files and the name of the index over them; empty if one file stands alone.
struct CheckpointLayout {
    std::vector<OutputFile> files;
    std::string index_name;

    std::uint64_t tensor_bytes() const noexcept;
    std::size_t tensor_count() const noexcept;
};

/// As @p source is split: the same names of files, in each the same tensors in the same order. Items are indices of
/// its tensors.
/// @param is_kept by tensor: whether it is there to be written; files without any are left out.
CheckpointLayout layout_like(Catalog const& source, std::vector<bool> const& is_kept);

/// In each file puts wider elements first, as layout_split does.
void put_wide_first(CheckpointLayout& layout);

/// Split anew, in the order given, into files of at most @p most_bytes of data (a longer tensor has a file for itself):
/// `model.safetensors`, or `model-00001-of-00007.safetensors` and so on with an index. In a file wider elements come
/// first, so that each begins at a multiple of its element.
CheckpointLayout layout_split(std::vector<OutputTensor> tensors, HeaderNotes const& metadata, std::uint64_t most_bytes);

/// Everything of a file before its data.
std::string header_of(OutputFile const& file);

/// Text of the index: `weight_map` and the sum of all sizes.
std::string index_json(CheckpointLayout const& layout);

/// Which of @p ranks writes each file: longest first to the rank with the least bytes, ties to the lower one.
std::vector<int> deal_out(std::span<OutputFile const> files, int ranks);

}  // namespace shardwise
