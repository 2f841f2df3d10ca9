#include "util/suggest.hpp"

#include <vector>

#include <gmock/gmock.h>

namespace shardwise::test {
namespace {

TEST(Suggest, TheNearestWordWithinAThirdIsGiven) {
    std::vector<std::string> const options = {"staging", "strategy", "stats", "transport", "tp"};
    struct Case {
        char const* word;
        char const* nearest;
    };
    for (auto const& test_case : std::initializer_list<Case>{
             {"stagign", "staging"},    // swap of neighbours: one edit
             {"stagin", "staging"},     // insertion
             {"stagings", "staging"},   // deletion
             {"tranzport", "transport"},
             {"dp", "tp"},              // short words may differ in one character
             {"strategy", "strategy"},
             {"verify", ""},            // nothing alike
             {"xyz", ""},
             {"", ""},
         }) {
        EXPECT_EQ(nearest(test_case.word, options), test_case.nearest) << test_case.word;
    }
}

TEST(Suggest, ATieGoesToTheFirstCandidate) {
    EXPECT_EQ(nearest("cat", std::vector<std::string>{"car", "cap"}), "car");
    EXPECT_EQ(nearest("cat", std::vector<std::string>{"cap", "car"}), "cap");
}

TEST(Suggest, NoCandidatesNoSuggestion) { EXPECT_EQ(nearest("word", {}), ""); }

}  // namespace
}  // namespace shardwise::test
