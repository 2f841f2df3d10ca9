#include "io/pread_range.hpp"

#include <cerrno>

#include <unistd.h>

namespace shardwise {

std::span<std::byte const> pread_range(FileAccess const& access, FileRange const& range, std::span<std::byte> into,
                                       SharedCounters& counters) {
    Transfer transfer(range, into, access.allows_direct());
    for (;;) {
        auto const target = transfer.target();
        ssize_t const got =
            ::pread(transfer.fd(access), target.data(), target.size(), static_cast<off_t>(transfer.offset()));
        std::int64_t const outcome = got < 0 ? -errno : got;
        ++counters.requests;
        if (got > 0) { counters.bytes += static_cast<std::uint64_t>(got); }
        auto const next = take_outcome(access, transfer, outcome);
        if (next == NextStep::fall_back) { ++counters.fallbacks; }
        if (next == NextStep::done) { return transfer.data(); }
    }
}

}  // namespace shardwise
