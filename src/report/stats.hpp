/// @file
/// What a load did, per rank and over all ranks, as JSON and as a table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <shardwise/materialize.hpp>
#include <shardwise/plan.hpp>

namespace shardwise {

/// Figures of one rank. Seconds of the phases add up to the total.
struct RankStats {
    double total_seconds = 0;     ///< from the start of the command, MPI being up, to the end of the last phase
    double open_seconds = 0;      ///< headers read and shared, files looked at
    double plan_seconds = 0;
    double read_seconds = 0;      ///< waiting for storage
    double exchange_seconds = 0;  ///< waiting for other ranks
    double place_seconds = 0;     ///< copying into place
    double verify_seconds = 0;
    double write_seconds = 0;

    std::uint64_t checkpoint_bytes = 0;  ///< of all tensors of the checkpoint
    std::uint64_t needed_bytes = 0;      ///< of what this rank holds
    std::uint64_t read_bytes = 0;        ///< from storage or the page cache, over-read included
    std::uint64_t landed_bytes = 0;      ///< of these, what direct I/O put into tensors itself
    std::uint64_t exchanged_bytes = 0;   ///< taken from what other ranks read
    std::uint64_t stored_bytes = 0;      ///< put in place
    std::uint64_t written_bytes = 0;     ///< to --out

    std::uint64_t requests = 0;
    std::uint64_t peak_rss_bytes = 0;
    std::uint64_t staging_bytes = 0;
    std::uint64_t device_staging_bytes = 0;
    std::uint64_t device_peak_bytes = 0;

    double first_tensor_seconds = 0;  ///< of the load: until the first tensor was complete
    std::uint64_t lanes = 0;          ///< threads that copied

    std::vector<double> priority_seconds;  ///< of the load: until all tensors of each priority class were complete
    std::vector<ReaderBytes> readers;
};

/// What all ranks share.
struct JobFacts {
    Mesh mesh;
    std::string architecture;
    std::string plan_name;
    std::string plan_digest;
    std::string checkpoint;
    std::size_t tensors = 0;
    std::string io;         ///< as asked for
    std::string transport;  ///< as used
    std::string lanes_reason;           ///< rank 0's
    std::uint32_t files_at_once = 1;
    std::string files_at_once_reason;
    std::vector<std::string> priority;  ///< classes, without the last one of all that is left
    std::string device = "host";
    std::string device_name = "host";  ///< rank 0's
    std::uint64_t needed_once_bytes = 0;  ///< bytes of the checkpoint that some rank needs, each counted once
    StrategyBytes strategy_bytes;
    ParameterDifferences differences;  ///< from what the model is expected to have
    std::vector<FileChoice> files;
    std::vector<std::string> notes;
};

std::vector<std::byte> encode(RankStats const& stats);
RankStats decode_rank_stats(std::span<std::byte const> bytes);

/// One document, schema shardwise.stats/1.
std::string stats_json(JobFacts const& facts, std::span<RankStats const> ranks);

/// For people.
std::string stats_table(JobFacts const& facts, std::span<RankStats const> ranks);

}  // namespace shardwise
