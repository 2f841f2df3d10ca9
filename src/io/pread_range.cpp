#include "io/pread_range.hpp"

#include <cerrno>

#include <sys/uio.h>

namespace shardwise {

std::span<std::byte const> pread_all(FileAccess const& access, Transfer transfer, SharedCounters& counters) {
    for (;;) {
        auto const targets = transfer.targets();
        ssize_t const got = ::preadv(transfer.fd(access), targets.data(), static_cast<int>(targets.size()),
                                     static_cast<off_t>(transfer.offset()));
        std::int64_t const outcome = got < 0 ? -errno : got;
        ++counters.requests;
        if (got > 0) { counters.bytes += static_cast<std::uint64_t>(got); }
        auto const next = take_outcome(access, transfer, outcome);
        if (next == NextStep::fall_back) { ++counters.fallbacks; }
        if (next == NextStep::done) { return transfer.data(); }
    }
}

std::span<std::byte const> pread_range(FileAccess const& access, FileRange const& range, std::span<std::byte> into,
                                       SharedCounters& counters) {
    return pread_all(access, Transfer(range, into, access.allows_direct()), counters);
}

}  // namespace shardwise
