/// @file
/// The command line, the environment and configuration files, as one set of options.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <shardwise/back_ends.hpp>
#include <shardwise/export.hpp>
#include <shardwise/plan.hpp>

#include "report/progress.hpp"
#include "sink/rank_files.hpp"

namespace shardwise::cli {

enum class Command : std::uint8_t { help, version, inspect, plan, load, export_shards, verify, convert, calibrate };

struct Options {
    Command command = Command::help;
    Command help_for = Command::help;  ///< help: which command's; help itself for the overview
    std::vector<std::string> paths;  ///< the checkpoint; for verify, the two sides
    bool as_json = false;

    // What to load and how it is cut; the mesh's tp is 0 until the world is known.
    std::string architecture;        ///< name or file; empty: from config.json
    std::vector<std::string> rules;  ///< files of more rules
    PlanOptions plan;
    std::optional<Device> device;      ///< nothing: load looks, plan assumes the host
    std::optional<std::int64_t> rank;  ///< plan: only this one
    std::string explain;               ///< plan: the parameter to explain; empty: none
    std::string assume;                ///< plan: "cached" or "cold"; empty: look
    std::vector<std::int64_t> simulated_ranks;  ///< plan: predict loads of so many ranks
    std::int64_t ranks_per_node = 0;            ///< of these; 0: those of the profile

    ReaderChoice reader = ReaderChoice::automatic;
    TransportChoice transport = TransportChoice::automatic;
    Allocation allocation = Allocation::arena;
    std::size_t lanes = 0;  ///< 0: as the policy says
    LanePolicy lane_policy = LanePolicy::by_bytes;
    std::size_t depth = 0;
    std::int64_t deadline_seconds = 300;

    std::string out;
    RankFormat format = RankFormat::safetensors;
    ExportOptions writing;  ///< export, convert
    bool verify = false;
    std::string stats;
    std::string trace;
    ProgressMode progress = ProgressMode::automatic;
};

/// Whether an entry of the environment begins with SHARDWISE_.
bool is_option_variable(std::string_view entry) noexcept;

/// @param arguments without the program's name.
/// @param environment "NAME=VALUE" entries; those that is_option_variable() are options.
/// @throws Error usage naming the option, what was given, and the nearest right one; Error unavailable for a back end
/// that
///         this build does not have.
Options parse_options(std::vector<std::string> const& arguments, std::vector<std::string> const& environment);

/// Whether the arguments ask for a command that runs under MPI, and not for its help.
bool is_for_job(std::vector<std::string> const& arguments);

/// What --help prints: for @p command, or the overview.
std::string help_text(Command command);

}  // namespace shardwise::cli
