#include "comm/roll_call.hpp"

#include <string>
#include <thread>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "comm/mpi_communicator.hpp"

namespace shardwise {
namespace {

constexpr int kCallTag = 2;
constexpr int kHereTag = 3;
constexpr std::chrono::milliseconds kTimeToAnswer(200);
constexpr std::chrono::milliseconds kTimeToCallAlong(100);
constexpr std::chrono::milliseconds kTimeToHear(10);  ///< of what was called long ago: MPI gets on while it is asked
constexpr std::chrono::microseconds kBetweenLooks(100);
constexpr int kLeastLooks = 100;  ///< on a busy machine time passes without any

std::string missing_text(std::vector<int> const& missing, std::chrono::seconds waited) {
    constexpr char const* kLimit = "(--deadline sets the limit)";
    if (missing.empty()) {
        return fmt::format("waited {} s for other ranks, which all answer now {}", waited.count(), kLimit);
    }
    constexpr std::size_t kMostNamed = 8;
    std::string names;
    for (std::size_t i = 0; i < missing.size() && i < kMostNamed; ++i) {
        names += fmt::format("{}{}", i == 0 ? "" : ", ", missing[i]);
    }
    if (missing.size() > kMostNamed) { names += fmt::format(" and {} more", missing.size() - kMostNamed); }
    return fmt::format("waited {} s for rank{} {}, which {} not answer {}", waited.count(),
                       missing.size() == 1 ? "" : "s", names, missing.size() == 1 ? "does" : "do", kLimit);
}

}  // namespace

RollCall::RollCall(MPI_Comm comm) : comm_(comm) {
    MPI_Comm_rank(comm, &rank_);
    MPI_Comm_size(comm, &size_);
    is_here_.assign(static_cast<std::size_t>(size_), false);
    is_here_[static_cast<std::size_t>(rank_)] = true;
}

void RollCall::tell_all(int tag) {
    for (int rank = 0; rank < size_; ++rank) {
        if (rank == rank_) { continue; }
        MPI_Request request = MPI_REQUEST_NULL;
        check_mpi(MPI_Isend(nullptr, 0, MPI_BYTE, rank, tag, comm_, &request), "call the ranks");
        MPI_Request_free(&request);
    }
}

int RollCall::take() {
    int caller = -1;
    for (int const tag : {kCallTag, kHereTag}) {
        for (;;) {
            int is_there = 0;
            MPI_Status status;
            check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, tag, comm_, &is_there, &status), "listen for a call");
            if (is_there == 0) { break; }
            int const from = status.MPI_SOURCE;
            check_mpi(MPI_Recv(nullptr, 0, MPI_BYTE, from, tag, comm_, MPI_STATUS_IGNORE), "take a call");
            is_here_[static_cast<std::size_t>(from)] = true;
            if (tag == kCallTag && (caller < 0 || from < caller)) { caller = from; }
        }
    }
    return caller;
}

void RollCall::answer() {
    int const caller = take();
    if (caller < 0) { return; }
    tell_all(kHereTag);
    leave_the_word_to(caller);
}

void RollCall::leave_the_word_to(int rank) {
    speaker_ = rank;
    throw Error(Errc::peer, fmt::format("rank {} ends the job", rank)).on_rank(rank);
}

void RollCall::listen(std::chrono::milliseconds time, int below) {
    using Clock = std::chrono::steady_clock;
    if (size_ == 1) { return; }
    auto const until = Clock::now() + time;
    for (int looks = 0; looks < kLeastLooks || Clock::now() < until; ++looks) {
        int const caller = take();
        if (caller >= 0 && caller < below) { leave_the_word_to(caller); }
        std::this_thread::sleep_for(kBetweenLooks);
    }
}

void RollCall::take_the_word(std::chrono::milliseconds time_to_answer) {
    tell_all(kCallTag);
    listen(time_to_answer, rank_);
    speaker_ = rank_;
}

void RollCall::leave(Error const& why) {
    if (speaker_ < 0) {
        listen(kTimeToHear, size_);
        take_the_word(kTimeToCallAlong);
    }
    if (speaker_ != rank_) { leave_the_word_to(speaker_); }
    throw why.on_rank(rank_);
}

void RollCall::call(std::chrono::seconds waited) {
    take_the_word(kTimeToAnswer);
    std::vector<int> missing;
    for (int rank = 0; rank < size_; ++rank) {
        if (!is_here_[static_cast<std::size_t>(rank)]) { missing.push_back(rank); }
    }
    throw Error(Errc::peer, missing_text(missing, waited)).on_rank(rank_);
}

}  // namespace shardwise
