// Looking after ranks that wait: nobody waits for a dead neighbour, beyond the deadline, or after the launcher's
// signal.
#include "comm/watch.hpp"

#include <csignal>

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shardwise/error.hpp>

namespace shardwise::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::chrono::seconds kLong(30);

/// A process that only waits, and is a neighbour in our eyes.
class Neighbour {
   public:
    explicit Neighbour(int rank) : peer_(describe_self(rank)) {
        pid_ = ::fork();
        if (pid_ == 0) {
            for (;;) { ::pause(); }
        }
        peer_.pid = pid_;
    }
    ~Neighbour() {
        kill();
        reap();
    }
    void kill() const { ::kill(pid_, SIGKILL); }
    void reap() const { ::waitpid(pid_, nullptr, 0); }
    NodePeer peer() const { return peer_; }

   private:
    NodePeer peer_;
    pid_t pid_;
};

/// The error that ends a wait, or one that says that the deadline did.
Error error_of_wait(Watch& watch) {
    try {
        while (!watch.pause()) {}
        return Error(Errc::usage, "deadline");
    } catch (Error const& error) { return error; }
}

TEST(Watch, ANeighbourThatWasKilledEndsTheWaitByName) {
    for (bool const is_reaped : {false, true}) {
        Neighbour const living(1);
        Neighbour const dying(3);
        Watch watch({describe_self(2), living.peer(), dying.peer()}, 2, kLong);
        for (int i = 0; i < 300; ++i) { EXPECT_FALSE(watch.pause()); }
        dying.kill();
        if (is_reaped) { dying.reap(); }
        auto const error = error_of_wait(watch);
        EXPECT_EQ(error.code(), Errc::peer);
        EXPECT_THAT(error.what(), StartsWith("rank 3 died"));
        EXPECT_EQ(error.rank(), 1) << "the lowest living rank speaks";
    }
}

TEST(Watch, OfSeveralDeadTheLowestRankIsNamed) {
    Neighbour const four(4);
    Neighbour const one(1);
    Watch watch({four.peer(), one.peer()}, 0, kLong);
    four.kill();
    one.kill();
    four.reap();
    one.reap();
    EXPECT_THAT(error_of_wait(watch).what(), StartsWith("rank 1 died"));
}

TEST(Watch, ProcessesOfAnotherContainerAreNotLookedAt) {
    Neighbour const dead(1);
    dead.kill();
    dead.reap();
    auto elsewhere = dead.peer();
    ++elsewhere.pid_namespace;
    Watch watch({elsewhere}, 0, std::chrono::seconds(0));
    EXPECT_STREQ(error_of_wait(watch).what(), "deadline");
}

TEST(Watch, TheDeadlineEndsTheWaitAndIsCountedFromItsBeginning) {
    Watch watch({}, 5, std::chrono::seconds(1));
    watch.begin();
    auto const began = std::chrono::steady_clock::now();
    EXPECT_STREQ(error_of_wait(watch).what(), "deadline");
    EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::seconds(1));
    watch.begin();
    EXPECT_FALSE(watch.pause());
}

TEST(Watch, TheLaunchersSignalEndsTheWait) {
    Watch watch({}, 1, kLong);
    termination_requested() = true;
    auto const error = error_of_wait(watch);
    termination_requested() = false;
    EXPECT_EQ(error.code(), Errc::peer);
    EXPECT_THAT(error.what(), HasSubstr("launcher ended the job"));
    EXPECT_EQ(error.rank(), -1) << "who says so is agreed on with the others";
}

TEST(Watch, ADeathBehindTheLaunchersSignalIsNamedInstead) {
    Neighbour const dead(2);
    Watch watch({dead.peer()}, 0, kLong);
    dead.kill();
    termination_requested() = true;
    auto const error = error_of_wait(watch);
    termination_requested() = false;
    EXPECT_THAT(error.what(), StartsWith("rank 2 died"));
}

}  // namespace
}  // namespace shardwise::test
