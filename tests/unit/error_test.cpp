#include <cerrno>

#include <gmock/gmock.h>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

TEST(Error, ContextGoesInFrontAndKindAndRankStay) {
    auto const error = Error(Errc::memory, "no room").on_rank(3).while_("w.weight").while_("load x");
    EXPECT_STREQ(error.what(), "load x: w.weight: no room");
    EXPECT_EQ(error.rank(), 3);
    EXPECT_EQ(error.code(), Errc::memory);
    EXPECT_EQ(Error(Errc::io, "").rank(), -1) << "no rank has been agreed on yet";
}

// Names come from files: they must not forge lines of a log or reach a terminal as commands.
TEST(Error, IsOneLineOfPrintableTextWhateverNamesHold) {
    auto const error = Error(Errc::input, std::string("a\0b\nc\x1B[2J\x7F", 10)).while_("x\ty \xC3\xBC");
    EXPECT_STREQ(error.what(), "x?y \xC3\xBC: a?b?c?[2J?");
}

// Scripts branch on these numbers.
TEST(Error, ExitStatusesAreTheDocumentedOnes) {
    struct Case {
        Errc code;
        int status;
        char const* name;
    };
    for (auto const& [code, status, name] : std::initializer_list<Case>{
             {Errc::usage, 2, "usage"},
             {Errc::input, 3, "input"},
             {Errc::io, 4, "io"},
             {Errc::memory, 5, "memory"},
             {Errc::peer, 6, "peer"},
             {Errc::unavailable, 7, "unavailable"},
         }) {
        EXPECT_EQ(Error(code, "").exit_status(), status);
        EXPECT_STREQ(to_string(code), name);
    }
}

TEST(Error, SystemErrorsEndWithTheSystemsWords) {
    EXPECT_THAT(error_of([] { throw_errno(ENOSPC, "write f at 7"); }),
                IsError(Errc::io, "write f at 7: No space left on device"));
    EXPECT_THAT(error_of([] { throw_errno(ENOMEM, "map f"); }), IsError(Errc::memory, "map f: Cannot allocate memory"));
}

}  // namespace
}  // namespace shardwise::test
