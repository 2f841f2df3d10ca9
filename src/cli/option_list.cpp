#include "cli/option_list.hpp"

namespace shardwise::cli {
namespace {

namespace po = boost::program_options;

constexpr unsigned kHelpWidth = 110;

po::options_description group_of(char const* title) {
    return po::options_description(title, kHelpWidth, kHelpWidth / 2);
}

auto text_of(char const* form) { return po::value<std::string>()->value_name(form); }
auto text_of(char const* form, char const* otherwise) { return text_of(form)->default_value(otherwise); }
auto patterns() { return po::value<std::vector<std::string>>()->composing()->value_name("PATTERN"); }
template <class T>
auto number_of(char const* form) { return po::value<T>()->value_name(form); }

constexpr char const* kArchitectureHelp =
    "architecture by name, or a description of your own by file (default: by config.json)";
constexpr char const* kDeadlineHelp = "how long to wait for other ranks before giving up";

po::options_description mapping_options() {
    auto group = group_of("What to load, and how it is cut");
    group.add_options()
        ("tp", number_of<std::int64_t>("N"),
         "ranks among which tensors are cut as the plan says (load: all ranks, divided by --pp, --dp and --fsdp)")
        ("fsdp", number_of<std::int64_t>("N")->default_value(1),
         "ranks among which dimension 0 of what tp leaves of every tensor is cut")
        ("dp", number_of<std::int64_t>("N")->default_value(1), "copies of the model, read once for all of them")
        ("pp", number_of<std::int64_t>("N")->default_value(1),
         "pipeline stages, each with its own layers; rank = ((stage * dp + copy) * fsdp + fsdp rank) * tp + tp rank")
        ("ep", number_of<std::int64_t>("N"),
         "ranks among which experts are dealt: a multiple of tp that divides fsdp * tp (default: as tp)")
        ("plan", text_of("NAME"), "named plan of the architecture, such as packed (default: ep with --ep, else tp)")
        ("arch", text_of("NAME|FILE"), kArchitectureHelp)
        ("rules", po::value<std::vector<std::string>>()->composing()->value_name("FILE"),
         "more rules, in the format of architecture files: their transforms run before the architecture's own, their "
         "plans replace the rules they name (may be repeated)")
        ("dtype", text_of("TYPE", "stored"),
         "floating-point type to load parameters in: F64, F32, F16, BF16, F8_E4M3, F8_E5M2; what is quantized, its "
         "scales, whole numbers, and what the architecture keeps in F32 are left alone (default: as stored)")
        ("quantized", text_of("keep|dequantize", "keep"),
         "keep: quantized tensors and their scales stay as stored, converted and cut in step; dequantize: FP8 with "
         "scales and MXFP4 become numbers of --dtype, or else of the type that config.json names")
        ("kv-heads", text_of("cut|replicate", "cut"),
         "cut: key/value projections are cut by rows; replicate: ranks beyond the number of key/value heads share "
         "whole heads")
        ("expect", text_of("FILE"),
         "the parameters wanted: a .safetensors file, or JSON {\"NAME\": {\"dtype\": ..., \"shape\": [...]}}; others "
         "are not read, and differences are reported")
        ("strict", po::bool_switch(), "refuse a checkpoint whose parameters differ from those expected")
        ("strict-divisible", po::bool_switch(), "refuse cuts that leave ranks parts of different sizes")
        ("include", patterns(), "only parameters whose name fits this shell pattern (may be repeated)")
        ("exclude", patterns(), "no parameters whose name fits this one (may be repeated)")
        ("priority", patterns(),
         "these come first, in the order given (may be repeated); presets: @embedding, @attention, @lm_head, "
         "@first-layers, @first-layers=N");
    return group;
}

po::options_description reading_options() {
    auto group = group_of("How bytes get there");
    group.add_options()
        ("strategy", text_of("auto|direct|cooperative", "auto"),
         "direct: every rank reads its own ranges; cooperative: every byte is read once and exchanged; auto: by "
         "cost, tensor by tensor")
        ("profile", text_of("NAME|FILE", "nvme"),
         "what --strategy auto takes the machine for: nvme, parallel-fs, cached, or a file that calibrate wrote")
        ("files-at-once", text_of("auto|N", "auto"),
         "deal the reads of a job over so many files, by turns, where servers of a network keep files apart; layers "
         "are whole later then; auto: 16 on network file systems, else 1: layer after layer")
        ("staging", text_of("SIZE", "256MiB"),
         "most memory of a rank beside its tensors; with --device cuda, of the host's and of the GPU's each")
        ("device", text_of("auto|host|cuda", "auto"),
         "where the tensors are to lie: memory of the host, or of one GPU a rank; auto: load takes GPUs if every rank "
         "sees one and --out asks for no files");
    return group;
}

po::options_description load_options() {
    auto group = group_of("Back ends and results");
    group.add_options()
        ("io", text_of("auto|mmap|uring|pread|gds", "auto"),
         "how files are read; auto decides file by file; gds: GPUDirect Storage, straight into a GPU's memory")
        ("transport", text_of("auto|shm|mpi|nccl", "auto"),
         "between ranks: memory shared inside a node, messages, or NCCL between GPUs")
        ("lanes", text_of("auto|file-adaptive|N", "auto"),
         "threads of a rank that copy; auto: one for every 16 MiB held, by the cores it may use, at most 4; "
         "file-adaptive: one for every 100 MiB of the files, no more than files")
        ("depth", number_of<std::int64_t>("N")->default_value(64), "reads of a rank under way with io_uring")
        ("deadline", number_of<std::int64_t>("SECONDS")->default_value(300),
         kDeadlineHelp)
        ("out", text_of("DIR"),
         "write one file a rank and a manifest into this folder (default: fill memory, report, end)")
        ("format", text_of("safetensors|hdf5|cuda-ipc", "safetensors"),
         "of the files in --out; cuda-ipc: handles of the tensors in the GPUs' memory, which the job holds until "
         "shardwise.json is removed or it gets SIGTERM")
        ("allocation", text_of("arena|tensors", "arena"),
         "arena: a rank's tensors in one stretch of memory; tensors: each for itself")
        ("verify", po::bool_switch(), "read the checkpoint a second time and compare digests with what the ranks hold")
        ("stats", text_of("FILE"), "write the figures of all ranks to this file as JSON")
        ("trace", text_of("FILE"), "write a timeline of all ranks to this file, for Perfetto or chrome://tracing")
        ("progress", text_of("auto|always|never", "auto"), "auto: a bar on a terminal, lines elsewhere; always: a bar");
    return group;
}

po::options_description writing_options(char const* size_help) {
    auto group = group_of("What to write");
    group.add_options()
        ("out", text_of("DIR"),
         "write the checkpoint into this folder; its files get their names when all are complete")
        ("max-shard-size", text_of("SIZE"), size_help)
        ("overwrite", po::bool_switch(),
         "replace a checkpoint that is there: its index and files that belonged to it go, others stay");
    return group;
}

po::options_description export_options() {
    auto group = writing_options("split anew into files of at most this size (default: as the original is split)");
    group.add_options()("deadline", number_of<std::int64_t>("SECONDS")->default_value(300), kDeadlineHelp);
    return group;
}

po::options_description convert_options() {
    auto group = writing_options("split into files of at most this size (default: 5GB, as is usual on model hubs)");
    group.add_options()
        ("quantize", patterns(),
         "make FP8 of the matrices whose name fits this shell pattern (may be repeated): F8_E4M3 codes and, beside X, "
         "X_scale_inv with one F32 a block")
        ("quantize-block", text_of("ROWSxCOLUMNS", "128x128"), "blocks of --quantize")
        ("arch", text_of("NAME|FILE"), kArchitectureHelp);
    return group;
}

po::options_description calibrate_options() {
    auto group = group_of("Output");
    group.add_options()
        ("out", text_of("FILE"), "write the profile to this file, for --profile (default: to standard output)")
        ("deadline", number_of<std::int64_t>("SECONDS")->default_value(300), kDeadlineHelp);
    return group;
}

po::options_description plan_output_options() {
    auto group = group_of("Output");
    group.add_options()
        ("rank", number_of<std::int64_t>("R"), "only this rank, with every read and piece in --json")
        ("explain", text_of("PARAMETER"),
         "how this one comes about: operations, stored tensors, and for each rank what it holds, reads and takes")
        ("assume", text_of("look|cached|cold", "look"), "whether the files are in the page cache")
        ("simulate", po::value<std::vector<std::int64_t>>()->composing()->value_name("RANKS"),
         "predict, by --profile, the load of so many ranks, --dp following from it (may be repeated)")
        ("ranks-per-node", number_of<std::int64_t>("N"), "of --simulate (default: those of the profile)")
        ("json", po::bool_switch(), "as JSON");
    return group;
}

po::options_description inspect_output_options() {
    auto group = group_of("Output");
    group.add_options()("json", po::bool_switch(), "as JSON");
    return group;
}

po::options_description common_options() {
    auto group = group_of("Other");
    group.add_options()
        ("config", text_of("FILE"), "read options from this file: name = value, one a line")
        ("help,h", po::bool_switch(), "this text");
    return group;
}

}  // namespace

po::options_description options_of(Command command) {
    auto all = group_of("");
    if (command == Command::plan || command == Command::load) { all.add(mapping_options()).add(reading_options()); }
    if (command == Command::load) { all.add(load_options()); }
    if (command == Command::export_shards) { all.add(export_options()); }
    if (command == Command::convert) { all.add(convert_options()); }
    if (command == Command::calibrate) { all.add(calibrate_options()); }
    if (command == Command::plan) { all.add(plan_output_options()); }
    if (command == Command::inspect) { all.add(inspect_output_options()); }
    all.add(common_options());
    return all;
}

}  // namespace shardwise::cli
