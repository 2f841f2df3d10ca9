/// @file
/// What a machine does in a second: the figures by which strategies are chosen and load times predicted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace shardwise {

/// Figures of one kind of storage and of the nodes that read it. Bytes per second are those of a whole node, all its
/// ranks together, unless said otherwise.
struct MachineProfile {
    std::string name = "nvme";
    std::int64_t ranks_per_node = 8;       ///< that the figures of a node were taken with
    double read_bytes_per_second = 2e9;    ///< from storage past the page cache, long requests, deep queue
    double shared_bytes_per_second = 0;    ///< from storage to all nodes together; 0: each node has a drive of its own
    double request_seconds = 20e-6;        ///< that one request more adds, queue depth taken into account
    double cached_bytes_per_second = 8e9;  ///< from the page cache into fresh memory
    double exchange_bytes_per_second = 8e9;  ///< that ranks take out of each other's stripes, into fresh memory
    double network_bytes_per_second = 12e9;  ///< between nodes, each way
    double step_seconds = 50e-6;             ///< for all ranks to agree, and for each round of messages

    /// From storage to @p nodes nodes together.
    double read_bytes_per_second_of(std::int64_t nodes) const noexcept;

    /// Nodes that @p ranks ranks are on.
    std::int64_t nodes_of(std::int64_t ranks) const noexcept;

    bool operator==(MachineProfile const&) const = default;
};

/// Names of the profiles that come with the program: nvme (a drive a node), parallel-fs (one file system for all),
/// cached (storage that is memory). Their figures are round ones of such machines and measured
/// on none.
std::vector<std::string> profile_names();

/// One of them by name, or a profile that `shardwise calibrate` wrote by its file, which has a slash or a dot.
/// @throws Error usage for an unknown name; Error io for a file that cannot be read; Error input naming the file and
///         the member that is no such figure.
MachineProfile load_profile(std::string const& name_or_path);

/// Schema shardwise.profile/1.
std::string to_json(MachineProfile const& profile);

class Context;

/// Measures this machine with the ranks of a job, on the files of the checkpoint at @p path, of which it reads up to
/// 1 GiB; takes seconds. Collective. Without another node the network's figure stays that of the built-in profiles.
/// @param notes what was not measured and why.
/// @throws Error as Catalog::open and loads; Error input if no file is 2 MiB long.
MachineProfile calibrate(std::string const& path, Context& context, std::vector<std::string>& notes);

}  // namespace shardwise
