#include "comm/watch.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shardwise {
namespace {

constexpr std::uint32_t kSpinsBeforeSleep = 200;
constexpr std::chrono::microseconds kNap(50);
constexpr std::chrono::milliseconds kBetweenLooks(50);
constexpr std::chrono::milliseconds kGrace(300);  ///< for a neighbour's death to show after the launcher's signal

/// True if the process is gone or only waits to be reaped.
bool is_dead(std::int32_t pid) {
    if (::kill(pid, 0) != 0 && errno == ESRCH) { return true; }
    std::ifstream status(fmt::format("/proc/{}/stat", pid));
    std::string line;
    std::getline(status, line);
    auto const after_name = line.rfind(')');
    return after_name != std::string::npos && after_name + 2 < line.size() && line[after_name + 2] == 'Z';
}

}  // namespace

NodePeer describe_self(int rank) {
    struct stat status = {};
    ::stat("/proc/self/ns/pid", &status);
    return {rank, static_cast<std::int32_t>(::getpid()), static_cast<std::uint64_t>(status.st_ino)};
}

std::atomic<bool>& termination_requested() noexcept {
    static std::atomic<bool> requested = false;
    return requested;
}

Error asked_to_end() {
    return {Errc::peer, "the launcher ended the job: it was cancelled, its time is up, or a rank on another node died"};
}

Watch::Watch(std::vector<NodePeer> peers, int rank, std::chrono::seconds deadline)
    : peers_(std::move(peers)), rank_(rank), deadline_(deadline) {
    auto const own = describe_self(rank);
    std::erase_if(peers_,
                  [&](NodePeer const& peer) { return peer.rank == rank || peer.pid_namespace != own.pid_namespace; });
    begin();
}

void Watch::begin() noexcept {
    began_ = Clock::now();
    looked_ = began_;
    spins_ = 0;
}

bool Watch::pause() {
    if (++spins_ < kSpinsBeforeSleep) {
        ::sched_yield();
        return false;
    }
    std::this_thread::sleep_for(kNap);
    auto const now = Clock::now();
    if (now - looked_ < kBetweenLooks && !termination_requested()) { return false; }
    looked_ = now;
    look_for_dead_peers();
    if (termination_requested()) {
        // The launcher ends everybody when one rank dies; naming that rank is worth a short wait.
        for (auto const until = now + kGrace; Clock::now() < until;) {
            std::this_thread::sleep_for(kBetweenLooks / 10);
            look_for_dead_peers();
        }
        throw asked_to_end();
    }
    return now - began_ > deadline_;
}

void Watch::look_for_dead_peers() const {
    std::optional<std::int32_t> dead;
    std::int32_t lowest_living = rank_;
    for (auto const& peer : peers_) {
        if (!is_dead(peer.pid)) {
            lowest_living = std::min(lowest_living, peer.rank);
        } else if (!dead || peer.rank < *dead) {
            dead = peer.rank;
        }
    }
    if (dead) {
        throw Error(Errc::peer, fmt::format("rank {} died before the load was done", *dead)).on_rank(lowest_living);
    }
}

}  // namespace shardwise
