/// @file
/// Communicators for tests: waits are bounded, so that a rank that never comes is a failure and not a hang.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/mpi_communicator.hpp"

namespace shardwise::test {

inline constexpr std::chrono::seconds kTestDeadline(40);

/// All ranks; with @p ranks_per_node, as if every so many ranks were a node of their own.
inline std::unique_ptr<MpiCommunicator> make_world(int ranks_per_node = 0) {
    return std::make_unique<MpiCommunicator>(
        MPI_COMM_WORLD, MpiOptions{.deadline = kTestDeadline, .pretend_ranks_per_node = ranks_per_node});
}

inline std::vector<std::byte> to_bytes(std::string const& text) {
    auto const bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

/// What every rank says, by rank.
inline std::vector<std::string> gather_texts(Communicator& communicator, std::string const& text) {
    std::vector<std::string> texts;
    for (auto const& bytes : communicator.all_gather(to_bytes(text))) {
        texts.emplace_back(reinterpret_cast<char const*>(bytes.data()), bytes.size());
    }
    return texts;
}

}  // namespace shardwise::test
