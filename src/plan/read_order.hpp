/// @file
/// In which order stored tensors are read: layer after layer, within one as they lie in files, and from so many files
/// at once as their servers are worth.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <shardwise/plan.hpp>

namespace shardwise {

/// What is to be read of one stored tensor, and when it is wanted.
struct ReadPlace {
    std::uint32_t group = 0;     ///< those of a layer have the same number; groups come in the order they are wanted
    std::uint32_t priority = 0;  ///< class; lower ones come first, and groups of different ones are not mixed
    std::uint32_t file = 0;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
};

struct ReadOrder {
    std::vector<std::uint32_t> order;     ///< indices of the places
    std::vector<std::size_t> round_ends;  ///< places in `order` where a round of groups that are read together ends
};

/// Within a group, places come as they lie in files. With more than one file at once, as many groups as lie in so many
/// files are taken together, and files are read by turns, some 16 MiB each: whatever many ranks read at the same time
/// lies in several files then. One file at a time keeps to the order of groups.
/// @param places in the order they are wanted.
ReadOrder read_order(std::span<ReadPlace const> places, std::uint32_t files_at_once);

/// How many files are read at once, and why.
struct FilesAtOnce {
    std::uint32_t count = 1;
    std::string reason;
};

/// @param asked for; 0: one, and 16 where servers of a network hold the files that are not cached.
FilesAtOnce choose_files_at_once(std::uint32_t asked, MachineProfile const& profile, std::span<FileFacts const> facts);

}  // namespace shardwise
