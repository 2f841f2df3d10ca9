#include "cli/options.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <sstream>

#include <fmt/format.h>

#include <shardwise/architecture.hpp>
#include <shardwise/error.hpp>

#include "cli/option_list.hpp"
#include "util/file.hpp"
#include "util/suggest.hpp"
#include "util/units.hpp"

namespace shardwise::cli {
namespace {

namespace po = boost::program_options;

constexpr std::string_view kEnvironmentPrefix = "SHARDWISE_";

[[noreturn]] void refuse(std::string text) { throw Error(Errc::usage, std::move(text)); }

struct CommandFacts {
    Command command;
    std::string_view name;
    std::string_view arguments;
    std::string_view summary;
};

constexpr std::array<CommandFacts, 7> kCommands = {{
    {Command::inspect, "inspect", "CKPT", "list the files and tensors of a checkpoint"},
    {Command::plan, "plan", "CKPT --tp N", "show what each rank of a job would read, exchange and hold; needs no MPI"},
    {Command::load, "load", "CKPT",
     "load the checkpoint into the ranks of an MPI job: mpirun -n N shardwise load CKPT"},
    {Command::export_shards, "export", "DIR --out DIR",
     "turn rank files back into the checkpoint they came from: mpirun -n M shardwise export DIR --out DIR"},
    {Command::convert, "convert", "CKPT --out DIR",
     "write the whole model under the names and in the layout that it is held in; one process, no MPI"},
    {Command::verify, "verify", "A B",
     "compare two checkpoints or folders of rank files, tensor by tensor, whatever their cut"},
    {Command::calibrate, "calibrate", "CKPT",
     "measure this machine on the files of a checkpoint: mpirun -n N shardwise calibrate CKPT --out FILE"},
}};

CommandFacts const& facts_of(Command command) {
    return *std::find_if(kCommands.begin(), kCommands.end(),
                         [&](CommandFacts const& facts) { return facts.command == command; });
}

/// One of a few words, each with its value.
template <class T>
T choose(po::variables_map const& values, std::string const& option, std::map<std::string, T> const& words) {
    auto const text = values[option].as<std::string>();
    auto const found = words.find(text);
    if (found != words.end()) { return found->second; }
    std::vector<std::string> known;
    for (auto const& [word, value] : words) { known.push_back(word); }
    auto const near = nearest(text, known);
    refuse(fmt::format("--{} {}: expected one of {}{}", option, text, fmt::join(known, ", "),
                       near.empty() ? "" : fmt::format("; did you mean {}?", near)));
}

std::vector<std::string> names_of(po::options_description const& description) {
    std::vector<std::string> names;
    for (auto const& option : description.options()) { names.push_back(option->long_name()); }
    return names;
}

[[noreturn]] void refuse_unknown(std::string const& given, std::string const& where,
                                 po::options_description const& description) {
    auto name = given.substr(0, given.find('='));
    name.erase(0, name.find_first_not_of('-'));
    auto const near = nearest(name, names_of(description));
    refuse(fmt::format("unknown option '{}'{}{}", given, where,
                       near.empty() ? "; --help lists what there is" : fmt::format("; did you mean --{}?", near)));
}

/// SHARDWISE_KV_HEADS=replicate is --kv-heads replicate.
std::string to_environment_name(std::string option) {
    std::transform(option.begin(), option.end(), option.begin(),
                   [](unsigned char c) { return c == '-' ? '_' : std::toupper(c); });
    return fmt::format("{}{}", kEnvironmentPrefix, option);
}

/// Options of any command. The environment and files serve several commands in a row, so what is meant for another one
/// is no mistake there.
std::vector<std::string> all_names() {
    std::vector<std::string> names;
    for (auto const& facts : kCommands) {
        auto const more = names_of(options_of(facts.command));
        names.insert(names.end(), more.begin(), more.end());
    }
    return names;
}

bool contains(std::vector<std::string> const& names, std::string const& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

void store_environment(po::variables_map& values, std::vector<std::string> const& environment,
                       po::options_description const& description) {
    std::map<std::string, std::string> option_of;
    for (auto const& name : all_names()) { option_of.emplace(to_environment_name(name), name); }
    auto const own = names_of(description);
    po::basic_parsed_options<char> parsed(&description);
    for (auto const& entry : environment) {
        auto const equals = entry.find('=');
        auto const name = entry.substr(0, equals);
        if (!is_option_variable(entry) || equals == std::string::npos) { continue; }
        auto const found = option_of.find(name);
        if (found == option_of.end()) {
            std::vector<std::string> known;
            for (auto const& [variable, option] : option_of) { known.push_back(variable); }
            auto const near = nearest(name, known);
            refuse(fmt::format("the environment sets {}, which is no option of shardwise{}", name,
                               near.empty() ? "" : fmt::format("; did you mean {}?", near)));
        }
        if (contains(own, found->second)) {
            parsed.options.emplace_back(found->second, std::vector<std::string>{entry.substr(equals + 1)});
        }
    }
    try {
        po::store(parsed, values);
    } catch (po::error const& error) { refuse(fmt::format("in the environment: {}", error.what())); }
}

void store_config_file(po::variables_map& values, std::string const& path, po::options_description const& description) {
    std::istringstream file(read_text(path));
    try {
        auto parsed = po::parse_config_file(file, description, true);
        auto const known = all_names();
        for (auto const& option : parsed.options) {
            if (option.unregistered && !contains(known, option.string_key)) {
                refuse_unknown(option.string_key, fmt::format(" in {}", path), description);
            }
        }
        std::erase_if(parsed.options, [](po::option const& option) { return option.unregistered; });
        po::store(parsed, values);
    } catch (po::error const& error) { refuse(fmt::format("in {}: {}", path, error.what())); }
}

/// The values of all sources; what is stored first wins.
po::variables_map collect(Command command, std::vector<std::string> const& arguments,
                          std::vector<std::string> const& environment) {
    auto description = options_of(command);
    po::options_description with_paths;
    with_paths.add(description).add_options()("path", po::value<std::vector<std::string>>(), "");
    po::positional_options_description positions;
    positions.add("path", -1);

    po::variables_map values;
    try {
        auto const style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
        po::store(po::command_line_parser(arguments).options(with_paths).positional(positions).style(style).run(),
                  values);
        store_environment(values, environment, description);
        if (values.count("config") > 0) { store_config_file(values, values["config"].as<std::string>(), description); }
        po::notify(values);
    } catch (po::unknown_option const& error) {
        refuse_unknown(error.get_option_name(), "", description);
    } catch (po::error const& error) { refuse(error.what()); }
    return values;
}

std::vector<std::string> texts(po::variables_map const& values, char const* option) {
    return values.count(option) > 0 ? values[option].as<std::vector<std::string>>() : std::vector<std::string>{};
}

std::string text(po::variables_map const& values, char const* option) {
    return values.count(option) > 0 ? values[option].as<std::string>() : std::string();
}

std::int64_t at_least_one(po::variables_map const& values, char const* option) {
    auto const number = values[option].as<std::int64_t>();
    if (number < 1) { refuse(fmt::format("--{} {}: expected a number from 1 up", option, number)); }
    return number;
}

/// A number from 1 up that stands in place of @p words.
template <class Number>
Number read_count(std::string_view option, std::string const& text, std::string_view words) {
    Number number = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || number == 0) {
        refuse(fmt::format("--{} {}: expected {}, or a number from 1 up", option, text, words));
    }
    return number;
}

void read_plan_values(Options& options, po::variables_map const& values) {
    options.architecture = text(values, "arch");
    options.rules = texts(values, "rules");
    auto& plan = options.plan;
    plan.mesh.tp = values.count("tp") > 0 ? at_least_one(values, "tp") : 0;
    plan.mesh.dp = at_least_one(values, "dp");
    plan.mesh.pp = at_least_one(values, "pp");
    plan.mesh.fsdp = at_least_one(values, "fsdp");
    bool const has_ep = values.count("ep") > 0;
    plan.mesh.ep = has_ep ? at_least_one(values, "ep") : 0;
    plan.plan = values.count("plan") > 0 ? text(values, "plan") : has_ep ? "ep" : "tp";
    plan.replicate_kv_heads = choose<bool>(values, "kv-heads", {{"cut", false}, {"replicate", true}});
    plan.dtype = choose<std::optional<DType>>(values, "dtype", {{"stored", std::nullopt},
                                                                {"F64", DType::f64},
                                                                {"F32", DType::f32},
                                                                {"F16", DType::f16},
                                                                {"BF16", DType::bf16},
                                                                {"F8_E4M3", DType::f8_e4m3},
                                                                {"F8_E5M2", DType::f8_e5m2},
                                                                {"float64", DType::f64},
                                                                {"float32", DType::f32},
                                                                {"float16", DType::f16},
                                                                {"bfloat16", DType::bf16}});
    options.device = choose<std::optional<Device>>(
        values, "device", {{"auto", std::nullopt}, {"host", Device::host}, {"cuda", Device::cuda}});
    plan.device = options.device.value_or(Device::host);
    plan.dequantizes = choose<bool>(values, "quantized", {{"keep", false}, {"dequantize", true}});
    plan.strict_divisible = values["strict-divisible"].as<bool>();
    if (auto const file = text(values, "expect"); !file.empty()) { plan.expected = read_expectation(file); }
    plan.strict = values["strict"].as<bool>();
    plan.include = texts(values, "include");
    plan.exclude = texts(values, "exclude");
    plan.priority = texts(values, "priority");
    plan.strategy = choose<StrategyChoice>(values, "strategy",
                                           {{"auto", StrategyChoice::automatic},
                                            {"direct", StrategyChoice::direct},
                                            {"cooperative", StrategyChoice::cooperative}});
    plan.profile = load_profile(text(values, "profile"));
    if (auto const word = text(values, "files-at-once"); word != "auto") {
        plan.files_at_once = read_count<std::uint32_t>("files-at-once", word, "auto");
    }
    try {
        plan.staging_bytes = parse_size(text(values, "staging"));
    } catch (Error const& error) { throw error.while_("--staging"); }
}

void read_lanes(Options& options, std::string const& word) {
    if (word == "auto") { return; }
    if (word == "file-adaptive") {
        options.lane_policy = LanePolicy::file_adaptive;
        return;
    }
    options.lanes = read_count<std::size_t>("lanes", word, "auto, file-adaptive");
}

/// One handle stands for all tensors of a rank, in the memory of its GPU.
void check_handoff(Options const& options) {
    if (options.format != RankFormat::cuda_ipc) { return; }
    if (options.out.empty()) { refuse("--format cuda-ipc needs --out DIR: where others are to find the handles"); }
    if (options.device == Device::host) { refuse("--format cuda-ipc hands on memory of GPUs, --device host has none"); }
    if (options.allocation != Allocation::arena) { refuse("--format cuda-ipc hands on one arena: --allocation arena"); }
}

void read_load_values(Options& options, po::variables_map const& values) {
    options.reader = choose<ReaderChoice>(values, "io",
                                          {{"auto", ReaderChoice::automatic},
                                           {"mmap", ReaderChoice::mmap},
                                           {"uring", ReaderChoice::uring},
                                           {"pread", ReaderChoice::pread},
                                           {"gds", ReaderChoice::gds}});
    options.transport = choose<TransportChoice>(
        values, "transport",
        {{"auto", TransportChoice::automatic},
         {"shm", TransportChoice::shm},
         {"mpi", TransportChoice::mpi},
         {"nccl", TransportChoice::nccl}});
    options.allocation =
        choose<Allocation>(values, "allocation", {{"arena", Allocation::arena}, {"tensors", Allocation::tensors}});
    read_lanes(options, text(values, "lanes"));
    options.depth = static_cast<std::size_t>(at_least_one(values, "depth"));
    options.deadline_seconds = at_least_one(values, "deadline");
    options.out = text(values, "out");
    options.format = choose<RankFormat>(
        values, "format",
        {{"safetensors", RankFormat::safetensors}, {"hdf5", RankFormat::hdf5}, {"cuda-ipc", RankFormat::cuda_ipc}});
    check_handoff(options);
    options.verify = values["verify"].as<bool>();
    options.stats = text(values, "stats");
    options.trace = text(values, "trace");
    options.progress = choose<ProgressMode>(
        values, "progress",
        {{"auto", ProgressMode::automatic}, {"always", ProgressMode::always}, {"never", ProgressMode::never}});
}

void check_simulation(Options const& options) {
    auto const& mesh = options.plan.mesh;
    if (options.simulated_ranks.empty() && options.ranks_per_node > 0) { refuse("--ranks-per-node is of --simulate"); }
    if (!options.simulated_ranks.empty() && (options.rank || !options.explain.empty() || mesh.dp > 1)) {
        refuse("--simulate is of whole jobs: without --rank, --explain and --dp");
    }
    for (auto const ranks : options.simulated_ranks) {
        if (ranks < 1 || ranks % mesh.world() != 0) {
            refuse(fmt::format("--simulate {}: expected a multiple of {}, the ranks of one copy", ranks, mesh.world()));
        }
    }
}

void read_plan_output_values(Options& options, po::variables_map const& values) {
    options.explain = text(values, "explain");
    if (!options.explain.empty() && values["json"].as<bool>()) { refuse("--explain has no JSON; --json lists all"); }
    if (options.plan.mesh.tp == 0) { refuse("plan needs --tp N: for how many ranks?"); }
    check(options.plan.mesh);
    if (values.count("rank") > 0) {
        options.rank = values["rank"].as<std::int64_t>();
        if (*options.rank < 0 || *options.rank >= options.plan.mesh.world()) {
            refuse(fmt::format("--rank {}: the ranks are 0 to {}", *options.rank, options.plan.mesh.world() - 1));
        }
    }
    if (values.count("simulate") > 0) { options.simulated_ranks = values["simulate"].as<std::vector<std::int64_t>>(); }
    if (values.count("ranks-per-node") > 0) { options.ranks_per_node = at_least_one(values, "ranks-per-node"); }
    check_simulation(options);
    options.assume = choose<std::string>(values, "assume", {{"look", ""}, {"cached", "cached"}, {"cold", "cold"}});
}

QuantizeOptions read_quantization(po::variables_map const& values) {
    QuantizeOptions options;
    options.patterns = texts(values, "quantize");
    auto const block = text(values, "quantize-block");
    auto const* const end = block.data() + block.size();
    auto const rows = std::from_chars(block.data(), end, options.block_rows);
    bool const has_both = rows.ec == std::errc{} && rows.ptr != end && *rows.ptr == 'x';
    auto const columns = has_both ? std::from_chars(rows.ptr + 1, end, options.block_columns) : rows;
    bool const is_read = has_both && columns.ec == std::errc{} && columns.ptr == end;
    if (!is_read || options.block_rows == 0 || options.block_columns == 0) {
        refuse(fmt::format("--quantize-block {}: expected rows x columns, such as 128x128", block));
    }
    return options;
}

void read_writing_values(Options& options, po::variables_map const& values) {
    options.out = text(values, "out");
    if (options.out.empty()) {
        refuse(fmt::format("{} needs --out DIR: where to?", facts_of(options.command).name));
    }
    options.writing.overwrite = values["overwrite"].as<bool>();
    auto const most = text(values, "max-shard-size");
    if (!most.empty()) {
        try {
            options.writing.max_file_bytes = parse_size(most);
        } catch (Error const& error) { throw error.while_("--max-shard-size"); }
        if (options.writing.max_file_bytes == 0U) { refuse("--max-shard-size 0: expected a size above 0"); }
    }
    if (options.command == Command::export_shards) { options.deadline_seconds = at_least_one(values, "deadline"); }
    if (options.command == Command::convert) {
        options.architecture = text(values, "arch");
        options.writing.quantize = read_quantization(values);
    }
}

Command parse_command(std::string const& word) {
    if (word == "--help" || word == "-h" || word == "help") { return Command::help; }
    if (word == "--version") { return Command::version; }
    std::vector<std::string> known;
    for (auto const& facts : kCommands) {
        if (facts.name == word) { return facts.command; }
        known.emplace_back(facts.name);
    }
    auto const near = nearest(word, known);
    refuse(fmt::format("unknown command '{}'; {}", word,
                       near.empty() ? fmt::format("the commands are {}", fmt::join(known, ", "))
                                    : fmt::format("did you mean {}?", near)));
}

}  // namespace

bool is_option_variable(std::string_view entry) noexcept {
    return entry.starts_with(kEnvironmentPrefix);
}

Options parse_options(std::vector<std::string> const& arguments, std::vector<std::string> const& environment) {
    Options options;
    if (arguments.empty()) { refuse("no command given; shardwise --help lists them"); }
    options.command = parse_command(arguments.front());
    if (options.command == Command::help || options.command == Command::version) { return options; }
    auto const command = options.command;
    auto const values = collect(command, {arguments.begin() + 1, arguments.end()}, environment);
    if (values["help"].as<bool>()) {
        options.help_for = command;
        options.command = Command::help;
        return options;
    }
    options.paths = texts(values, "path");
    std::size_t const wanted = command == Command::verify ? 2 : 1;
    if (options.paths.size() != wanted) {
        auto const& facts = facts_of(command);
        refuse(fmt::format("shardwise {} {}: expected {} path(s), got {}", facts.name, facts.arguments, wanted,
                           options.paths.size()));
    }
    if (command == Command::plan || command == Command::load) { read_plan_values(options, values); }
    if (command == Command::load) { read_load_values(options, values); }
    if (command == Command::plan) { read_plan_output_values(options, values); }
    if (command == Command::export_shards || command == Command::convert) { read_writing_values(options, values); }
    if (command == Command::calibrate) {
        options.out = text(values, "out");
        options.deadline_seconds = at_least_one(values, "deadline");
    }
    if (command == Command::plan || command == Command::inspect) { options.as_json = values["json"].as<bool>(); }
    return options;
}

bool is_for_job(std::vector<std::string> const& arguments) {
    bool const asks_help = std::find(arguments.begin(), arguments.end(), "--help") != arguments.end() ||
                           std::find(arguments.begin(), arguments.end(), "-h") != arguments.end();
    if (arguments.empty() || asks_help) { return false; }
    auto const commands = {Command::load, Command::export_shards, Command::calibrate};
    return std::ranges::any_of(commands, [&](Command command) { return arguments.front() == facts_of(command).name; });
}

std::string help_text(Command command) {
    if (command == Command::help) {
        std::string text =
            "shardwise loads a model checkpoint into the ranks of an MPI job, each rank its tensor-parallel shard.\n\n";
        for (auto const& facts : kCommands) {
            text += fmt::format("  shardwise {:<9} {:<16} {}\n", facts.name, facts.arguments, facts.summary);
        }
        text += fmt::format(
            "\n  shardwise COMMAND --help tells a command's options; shardwise --version the version.\n\n"
            "Known model types: {}\n\n"
            "Exit status: 0 done; 2 usage; 3 bad input (checkpoint, configuration); 4 input/output; "
            "5 out of memory or budget;\n"
            "6 another rank failed or did not answer; 7 a back end that was asked for is not "
            "available.\n",
            fmt::join(Architecture::known_model_types(), ", "));
        return text;
    }
    auto const& facts = facts_of(command);
    std::ostringstream out;
    out << fmt::format("shardwise {} {} [options]: {}\n", facts.name, facts.arguments, facts.summary);
    out << options_of(command);
    out << "\nAny option can stand in the file that --config names, or in the environment: SHARDWISE_KV_HEADS is "
           "--kv-heads.\n"
           "The command line wins over the environment, the environment over the file. In a job, rank 0's environment "
           "counts.\n";
    return out.str();
}

}  // namespace shardwise::cli
