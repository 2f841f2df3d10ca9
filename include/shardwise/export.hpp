/// @file
/// The way back: from what ranks hold to a checkpoint in the original names and layout; and whole models in the names
/// and layout that they are held in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/context.hpp>
#include <shardwise/materialize.hpp>
#include <shardwise/plan.hpp>

namespace shardwise {

/// Data of a file that convert_checkpoint fills before it begins the next one, as is usual on model hubs.
inline constexpr std::uint64_t kConvertedFileBytes = 5'000'000'000;

/// What convert_checkpoint makes FP8 of: codes F8_E4M3 and, beside X, X_scale_inv in F32 with one number a block, the
/// layout of the models of DeepSeek-V3's kind.
struct QuantizeOptions {
    std::vector<std::string> patterns = {};  ///< shell patterns of parameters; none: nothing is quantized
    std::uint64_t block_rows = 128;
    std::uint64_t block_columns = 128;
};

struct ExportOptions {
    /// Split into files of at most so many bytes of data; a longer tensor has a file for itself. Nothing: export splits
    /// as the original was split, convert by kConvertedFileBytes.
    std::optional<std::uint64_t> max_file_bytes;

    /// Replace a checkpoint that is in the folder: its index and its other files go.
    bool overwrite = false;

    QuantizeOptions quantize = {};  ///< of convert
};

/// A file that was written.
struct WrittenFile {
    std::string path;
    std::uint64_t size_bytes = 0;  ///< of the whole file
};

/// What was written, by all ranks together.
struct ExportReport {
    std::vector<WrittenFile> files;  ///< tensor files, in the order of the index
    std::size_t tensors = 0;
    std::uint64_t tensor_bytes = 0;
    std::vector<std::string> left_out;  ///< stored tensors of the source that no rank holds, by name
    std::vector<std::string> not_quantized = {};  ///< parameters that were to be, but are no matrices of whole blocks
};

/// Turns rank files back into the checkpoint that they were loaded from: original names, types, shapes, files, index
/// and config.json. Where the load changed types (PlanOptions::dtype, dequantizes) tensors have those that ranks hold;
/// dequantized ones lose their scales, and config.json says so. All files get their names when the last one is
/// complete, the index last.
/// Collective; @p context may have any number of ranks, files are dealt out over them.
/// @param rank_folder folder with shardwise.json; every rank must be able to read it.
/// @throws Error the same on every rank: input for rank files that are not one complete set, tensors that were loaded
///         in part only, a folder that holds a checkpoint; io.
ExportReport export_checkpoint(std::string const& rank_folder, std::string const& out, ExportOptions const& options,
                               Context& context);

/// The same out of the memory of the ranks that loaded; values are written as they are now. Collective over the ranks
/// of the load; rank files are not needed, nor can ranks see each other's memory or files but @p out.
/// @param store, plan, catalog, architecture, plan_options of the load.
ExportReport export_checkpoint(ParameterStore const& store, Plan const& plan, Catalog const& catalog,
                               Architecture const& architecture, PlanOptions const& plan_options,
                               std::string const& out, ExportOptions const& options, Context& context);

/// Writes the whole model in the names and layout that the architecture's rules give it; one process. What comes out is
/// not to be converted again: rules whose sources are names of the model, too, would do it twice.
/// @throws Error as map_parameters; input for a folder that is the source's or holds a checkpoint; io.
ExportReport convert_checkpoint(Catalog const& catalog, Architecture const& architecture, std::string const& out,
                                ExportOptions const& options);

}  // namespace shardwise
