#include <gmock/gmock.h>

#include "mapping/pattern.hpp"
#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

using testing::ElementsAre;

// Group numbers that are counted differently here and in the matcher would read past the match.
TEST(PatternGroups, WhatMakesGroupsCountDifferentlyIsRefused) {
    for (std::string const source : {"(*ACCEPT)w", "(?|(a)|(b))c", "\\Q(\\E(a)", "(?#(a)b", "(?x)a # (b)", "(?'name'a)",
                                     "(.)\\1", "(?<n>a)\\k<n>"}) {
        EXPECT_THAT(error_of([&] { Pattern(std::vector{source}); }), IsError(Errc::input, "'" + source + "'"))
            << source;
        EXPECT_THAT(error_of([&] { Pattern(std::vector<std::string>{"(x)y", source}); }), IsError(Errc::input, source));
    }
}

TEST(PatternGroups, OrdinaryGroupsOfSeveralSourcesAreTheirOwn) {
    Pattern const pattern({"a(\\d+)(?:x|y)(?=z)", "(?<n>b)(c)?[(]\\(", "d"});
    auto const first = pattern.find("a12xz");
    ASSERT_TRUE(first);
    EXPECT_THAT(first->groups, ElementsAre("12"));
    auto const second = pattern.find("b((");
    ASSERT_TRUE(second);
    EXPECT_EQ(second->source, 1U);
    EXPECT_THAT(second->groups, ElementsAre("b", ""));
}

}  // namespace
}  // namespace shardwise::test
