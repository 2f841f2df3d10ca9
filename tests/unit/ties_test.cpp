// Parameters that share their values: which of them are stored decides who holds them. The five cases are those of the
// reference.
#include "mapping/ties.hpp"

#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "mapping/parameters.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

/// {parameter: its aliases} of a checkpoint that gives @p stored.
std::vector<std::pair<std::string, std::vector<std::string>>> tied(std::vector<Tie> const& ties,
                                                                   std::vector<std::string> const& stored,
                                                                   NameSet const& model_names = {}) {
    std::vector<Parameter> parameters;
    for (auto const& name : stored) { parameters.push_back({name, {}, {}, {}}); }
    tie_names(parameters, ties, {stored.begin(), stored.end()}, model_names);
    std::vector<std::pair<std::string, std::vector<std::string>>> result;
    for (auto const& parameter : parameters) { result.emplace_back(parameter.name, parameter.aliases); }
    return result;
}

std::vector<Tie> const kHead = {{"head.weight", "embed.weight"}};

TEST(TiedWeights, OnlyTheSourceIsStored) {
    EXPECT_THAT(tied(kHead, {"embed.weight"}), ElementsAre(Pair("embed.weight", ElementsAre("head.weight"))));
}

TEST(TiedWeights, OnlyTheDependentIsStored) {
    EXPECT_THAT(tied(kHead, {"head.weight"}), ElementsAre(Pair("head.weight", ElementsAre("embed.weight"))));
}

TEST(TiedWeights, BothStoredKeepTheirValuesWhetherEqualOrNot) {
    EXPECT_THAT(tied(kHead, {"embed.weight", "head.weight"}),
                ElementsAre(Pair("embed.weight", IsEmpty()), Pair("head.weight", IsEmpty())));
}

TEST(TiedWeights, AnotherDependentStandsInWhereSourceAndDependentAreAbsent) {
    std::vector<Tie> const two = {{"a.weight", "embed.weight"}, {"b.weight", "embed.weight"}};
    EXPECT_THAT(tied(two, {"b.weight"}), ElementsAre(Pair("b.weight", ElementsAre("embed.weight", "a.weight"))));
    EXPECT_THAT(tied(two, {"a.weight", "b.weight"}),
                ElementsAre(Pair("a.weight", ElementsAre("embed.weight")), Pair("b.weight", IsEmpty())))
        << "one of the two, not both, is the source";
}

TEST(TiedWeights, NothingIsTiedWhereAllAreAbsent) {
    EXPECT_THAT(tied(kHead, {"norm.weight"}), ElementsAre(Pair("norm.weight", IsEmpty())));
}

TEST(TiedWeights, ATieOfATieHasTheFirstSource) {
    std::vector<Tie> const chain = {{"b.weight", "a.weight"}, {"c.weight", "b.weight"}};
    EXPECT_THAT(tied(chain, {"a.weight"}), ElementsAre(Pair("a.weight", ElementsAre("b.weight", "c.weight"))));
}

TEST(TiedModules, TieAllThatLiesInThem) {
    std::vector<Tie> const modules = {{"decoder.box", "box"}};
    EXPECT_THAT(tied(modules, {"box.0.bias", "boxes.w", "decoder.box.1.bias"}),
                ElementsAre(Pair("box.0.bias", ElementsAre("decoder.box.0.bias")), Pair("boxes.w", IsEmpty()),
                            Pair("decoder.box.1.bias", ElementsAre("box.1.bias"))));
}

TEST(TiedPatterns, NeedTheModelsNames) {
    std::vector<Tie> const pattern = {{"box.(?![0])\\d+", "box.0"}};
    EXPECT_THAT(tied(pattern, {"box.0.w"}), ElementsAre(Pair("box.0.w", IsEmpty())));
    EXPECT_THAT(tied(pattern, {"box.0.b", "box.0.w"},
                     {"box.0.b", "box.0.w", "box.1.b", "box.1.w", "box.2.b", "box.2.w", "inbox.1.w"}),
                ElementsAre(Pair("box.0.b", ElementsAre("box.1.b", "box.2.b")),
                            Pair("box.0.w", ElementsAre("box.1.w", "box.2.w"))));
}

TEST(TiedPatterns, LaterEntriesTakeBackWhatEarlierOnesSay) {
    NameSet const names = {"a.0.w", "a.1.w", "b.0.w", "b.1.w"};
    auto const written = write_out(std::vector<Tie>{{"a.(?![0])\\d+", "a.0"}, {"a", "b"}}, names);
    ASSERT_EQ(written.size(), 2U);
    EXPECT_EQ(written[0].dependent + " " + written[0].source, "a.1.w b.1.w");
    EXPECT_EQ(written[1].dependent + " " + written[1].source, "a.0.w b.0.w");
}

TEST(TiedPatterns, ThatDoNotComeOutEvenAreRefused) {
    std::string words;
    try {
        write_out(std::vector<Tie>{{"a", "b"}}, {"a.0.w", "a.1.w", "a.2.w", "b.0.w", "b.1.w"});
    } catch (Error const& error) { words = error.what(); }
    EXPECT_THAT(words, AllOf(HasSubstr("tied 'a' and 'b'"), HasSubstr("3 names"), HasSubstr("to 2 evenly")));
}

}  // namespace
}  // namespace shardwise::test
