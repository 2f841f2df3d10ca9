// Control messages, agreement and alarms between ranks.
#include "comm/communicator.hpp"

#include <filesystem>
#include <functional>
#include <new>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "support/mpi_world.hpp"

namespace shardwise::test {
namespace {

using ::testing::HasSubstr;

TEST(Communicator, GathersMessagesOfAnyLengthByRank) {
    auto const world = make_world();
    auto const message_of = [](int rank) {
        return std::string(static_cast<std::size_t>(rank * 1003), static_cast<char>('a' + rank));
    };
    auto const texts = gather_texts(*world, message_of(world->rank()));
    ASSERT_EQ(texts.size(), static_cast<std::size_t>(world->size()));
    for (int rank = 0; rank < world->size(); ++rank) {
        EXPECT_EQ(texts[static_cast<std::size_t>(rank)], message_of(rank));
    }
}

TEST(Communicator, GathersNothingFromAll) {
    auto const world = make_world();
    EXPECT_EQ(world->all_gather({}), std::vector<std::vector<std::byte>>(static_cast<std::size_t>(world->size())));
}

TEST(Communicator, BroadcastsFromAnyRank) {
    auto const world = make_world();
    for (int root = 0; root < world->size(); ++root) {
        for (auto const length : {0UL, 1UL, 70001UL, 2UL << 20U}) {
            auto const text = std::string(length, static_cast<char>('A' + root));
            auto const own = world->rank() == root ? text : std::string("ignored");
            EXPECT_EQ(world->broadcast(to_bytes(own), root), to_bytes(text)) << length << " bytes from rank " << root;
        }
    }
}

TEST(Communicator, SumsModuloTwoToThe64) {
    auto const world = make_world();
    auto const rank = static_cast<std::uint64_t>(world->rank());
    auto const size = static_cast<std::uint64_t>(world->size());
    auto const sums = world->sum({rank + 1, ~std::uint64_t{0}, 0});
    EXPECT_EQ(sums, (std::vector<std::uint64_t>{size * (size + 1) / 2, 0 - size, 0}));
    EXPECT_TRUE(world->sum({}).empty());
}

TEST(Communicator, LayoutKeepsEveryRankOnItsNode) {
    for (auto const per_node : {0, 1, 2, 3}) {
        auto const world = make_world(per_node);
        auto const real = per_node == 0 ? world->size() : per_node;  // the test's ranks are all on one machine
        auto const& layout = world->layout();
        EXPECT_EQ(layout.node_count, static_cast<std::uint32_t>((world->size() + real - 1) / real));
        std::vector<std::int32_t> neighbours;
        for (int rank = 0; rank < world->size(); ++rank) {
            EXPECT_EQ(layout.node_of[static_cast<std::size_t>(rank)], static_cast<std::uint32_t>(rank / real));
            if (rank / real == world->rank() / real) { neighbours.push_back(rank); }
        }
        EXPECT_EQ(layout.neighbours, neighbours);
    }
}

TEST(Agreement, NamesTheLowestRankThatFailedAndItsCode) {
    auto const world = make_world();
    std::vector<std::set<int>> const failing = {{}, {0}, {world->size() - 1}, {world->size() / 2, world->size() - 1}};
    for (auto const& ranks : failing) {
        std::optional<Errc> own;
        if (ranks.contains(world->rank())) { own = world->rank() == *ranks.begin() ? Errc::io : Errc::input; }
        auto const agreement = world->start_agreement(own);
        auto const outcome = world->wait(*agreement);
        EXPECT_EQ(outcome.is_ok(), ranks.empty());
        if (ranks.empty()) { continue; }
        EXPECT_EQ(outcome.failed_rank, *ranks.begin());
        EXPECT_EQ(outcome.code, Errc::io);
    }
}

TEST(Agreement, IsNotReachedBeforeEveryRankHasJoined) {
    auto const world = make_world();
    auto const meeting = make_world();
    std::unique_ptr<Agreement> agreement;
    if (world->rank() != 0) {
        agreement = world->start_agreement(std::nullopt);
        for (int look = 0; look < 1000; ++look) { ASSERT_FALSE(agreement->test()); }
    }
    meeting->all_gather({});
    if (world->rank() == 0) { agreement = world->start_agreement(std::nullopt); }
    EXPECT_TRUE(world->wait(*agreement).is_ok());
}

/// Something that goes wrong, and how all ranks should hear of it.
struct Mishap {
    std::function<void()> happen;
    Errc code;
    char const* text;
};

TEST(Together, AnyExceptionOnAnyRankIsTheSameErrorOnAll) {
    auto const world = make_world();
    std::vector<Mishap> const mishaps = {
        {[] { throw Error(Errc::unavailable, "no such back end"); }, Errc::unavailable, "no such back end"},
        {[] { throw std::bad_alloc(); }, Errc::memory, "out of memory"},
        {[] { static_cast<void>(std::filesystem::file_size("/no/such/file")); }, Errc::io, "/no/such/file"},
        {[] { throw std::out_of_range("beyond the end"); }, Errc::input, "beyond the end"},
    };
    for (auto const& mishap : mishaps) {
        for (auto const failing : {0, world->size() - 1}) {
            bool has_thrown = false;
            try {
                together(*world, [&] {
                    if (world->rank() == failing) { mishap.happen(); }
                });
            } catch (Error const& error) {
                has_thrown = true;
                EXPECT_EQ(error.code(), mishap.code);
                EXPECT_EQ(error.rank(), failing);
                EXPECT_THAT(error.what(), HasSubstr(mishap.text));
            }
            EXPECT_TRUE(has_thrown);
        }
    }
    EXPECT_NO_THROW(together(*world, [] {}));
}

TEST(Together, OfSeveralFailuresTheLowestRanksIsTold) {
    auto const world = make_world();
    try {
        together(*world, [&] {
            if (world->rank() >= world->size() / 2) {
                throw Error(Errc::io, fmt::format("rank {} cannot read", world->rank()));
            }
        });
        FAIL() << "the failure was lost";
    } catch (Error const& error) { EXPECT_EQ(error.what(), fmt::format("rank {} cannot read", world->size() / 2)); }
}

/// Looks until the alarm is there; a lost one runs into the limit.
void expect_alarm(Communicator& world) {
    auto const limit = std::chrono::steady_clock::now() + kTestDeadline;
    while (!world.is_alarm_raised()) { ASSERT_LT(std::chrono::steady_clock::now(), limit) << "the alarm was lost"; }
}

TEST(Alarm, ReachesEveryRankAndCanBeRaisedAgainOnceCleared) {
    auto const world = make_world();
    EXPECT_FALSE(world->is_alarm_raised());
    world->all_gather({});
    for (int round = 0; round < 20; ++round) {
        // One rank, another one, then several at once.
        bool const raises = round % 3 == 2 ? world->rank() % 2 == 0 : world->rank() == round % world->size();
        if (raises) {
            world->raise_alarm();
            world->raise_alarm();  // once is enough
        }
        expect_alarm(*world);
        world->clear_alarm();
        ASSERT_FALSE(world->is_alarm_raised()) << "round " << round;
        world->all_gather({});  // nobody raises the next one before all have looked
    }
}

TEST(Alarm, OfOneProcessCanBeClearedToo) {
    auto const self = make_self_communicator();
    self->raise_alarm();
    EXPECT_TRUE(self->is_alarm_raised());
    self->clear_alarm();
    EXPECT_FALSE(self->is_alarm_raised());
}

TEST(Deadline, EndsAWaitForARankThatDoesNotComeAndOneRankNamesIt) {
    auto const world = make_world();
    if (world->size() == 1) { return; }  // nobody to wait for
    auto const meeting = make_world();   // to see to it that rank 0 comes late
    world->set_deadline(1);
    auto agreement = world->rank() == 0 ? nullptr : world->start_agreement(std::nullopt);
    auto const error_of_wait = [&] {
        try {
            world->wait(*agreement);
            return Error(Errc::usage, "all came");
        } catch (Error const& error) { return error; }
    };
    std::uint64_t says_it = 0;
    if (world->rank() != 0) {
        auto const error = error_of_wait();
        EXPECT_EQ(error.code(), Errc::peer);
        if (error.rank() == world->rank()) {
            says_it = 1;
            EXPECT_STREQ(error.what(), "waited 1 s for rank 0, which does not answer (--deadline sets the limit)");
        }
    }
    EXPECT_EQ(meeting->sum({says_it}).front(), 1U);
    if (world->rank() == 0) {
        agreement = world->start_agreement(std::nullopt);
        auto const error = error_of_wait();
        // The others have given up, unless they were quicker to come back than their call.
        if (error.code() != Errc::usage) { EXPECT_NE(error.rank(), 0); }
    }
    while (!agreement->test()) {}
}

/// The rank that a leaving rank leaves the word to.
int speaker_of(Communicator& communicator) {
    try {
        communicator.leave(Error(Errc::peer, "why"));
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::peer);
        bool const is_own = error.rank() == communicator.rank();
        EXPECT_EQ(std::string(error.what()), is_own ? "why" : fmt::format("rank {} ends the job", error.rank()));
        return error.rank();
    }
}

TEST(Leaving, OneRankHasTheWordIfAllLeaveAtOnce) {
    auto const world = make_world();
    auto const meeting = make_world();
    auto const speaker = speaker_of(*world);
    EXPECT_EQ(meeting->sum({speaker == world->rank() ? 1U : 0U}).front(), 1U);
    EXPECT_EQ(speaker_of(*world), speaker) << "not twice";
}

TEST(Leaving, WhoComesLateLeavesQuietly) {
    auto const world = make_world();
    auto const meeting = make_world();
    bool const is_late = world->size() > 1 && world->rank() == 0;
    int speaker = -1;
    if (!is_late) { speaker = speaker_of(*world); }
    meeting->sum({0});
    if (is_late) { speaker = speaker_of(*world); }
    EXPECT_EQ(meeting->sum({speaker == world->rank() ? 1U : 0U}).front(), 1U);
    if (is_late) { EXPECT_NE(speaker, 0); }
}

TEST(Leaving, EndsTheWaitsOfTheOthersWhichAreQuiet) {
    auto const world = make_world();
    auto const meeting = make_world();
    int const leaver = world->size() - 1;
    if (world->rank() == leaver) {
        EXPECT_EQ(speaker_of(*world), leaver);
    } else {
        try {
            world->sum({1});
            ADD_FAILURE() << "nobody told this rank";
        } catch (Error const& error) {
            EXPECT_EQ(error.code(), Errc::peer);
            EXPECT_EQ(error.rank(), leaver);
        }
    }
    meeting->sum({0});
}

}  // namespace
}  // namespace shardwise::test
