/// @file
/// One range by pread, on the thread that asks, and counting by many threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "io/reader.hpp"
#include "io/transfer.hpp"

namespace shardwise {

/// What the threads of a reader did.
struct SharedCounters {
    std::atomic<std::uint64_t> requests = 0;
    std::atomic<std::uint64_t> bytes = 0;
    std::atomic<std::uint64_t> fallbacks = 0;

    ReadCounters values() const noexcept { return {requests, bytes, fallbacks, 0}; }
};

/// Reads all of @p transfer and returns its bytes, those in landings apart.
/// @throws Error as Reader.
std::span<std::byte const> pread_all(FileAccess const& access, Transfer transfer, SharedCounters& counters);

/// The same of one stretch of memory, as ReadRequest has it, direct if @p access allows it.
std::span<std::byte const> pread_range(FileAccess const& access, FileRange const& range, std::span<std::byte> into,
                                       SharedCounters& counters);

}  // namespace shardwise
