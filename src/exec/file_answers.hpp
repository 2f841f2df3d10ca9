/// @file
/// Work on files shared out over the ranks, and the results told to all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "comm/communicator.hpp"

namespace shardwise {

/// What one rank says of one file.
struct FileAnswer {
    std::uint64_t file = 0;
    std::vector<std::byte> bytes;
};

/// Calls @p take(file, bytes) for every answer of every rank, ranks in order (collective).
void exchange_answers(Communicator& communicator, std::vector<FileAnswer> const& own,
                      std::function<void(std::uint64_t, std::span<std::byte const>)> const& take);

}  // namespace shardwise
