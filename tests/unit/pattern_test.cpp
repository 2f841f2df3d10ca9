// Patterns of conversion rules: regular expressions with the `*.` glob and the name boundary, and targets as
// replacement text.
#include "mapping/pattern.hpp"

#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "util/natural_order.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The text of @p name that @p source matches; "(none)" if it does not.
std::string matched(std::string const& source, std::string const& name) {
    auto const match = Pattern({source}).find(name);
    return match ? name.substr(match->begin, match->end - match->begin) : "(none)";
}

struct MatchCase {
    char const* source;
    char const* name;
    char const* matched;
};

class Matching : public ::testing::TestWithParam<MatchCase> {};

TEST_P(Matching, FindsWhatTheReferenceFinds) {
    auto const& [source, name, expected] = GetParam();
    EXPECT_EQ(matched(source, name), expected) << "'" << source << "' in '" << name << "'";
}

constexpr char const* kNone = "(none)";

INSTANTIATE_TEST_SUITE_P(
    Glob, Matching,
    ::testing::Values(
        // The dot in front of the star is a wildcard that takes one character; the star takes any number of segments.
        MatchCase{"experts.*.w1.weight", "a.experts.3.w1.weight", "experts.3.w1.weight"},
        MatchCase{"experts.*.w1.weight", "a.experts.3.x.4.w1.weight", "experts.3.x.4.w1.weight"},
        MatchCase{"experts.*.w1.weight", "a.expertsX3.w1.weight", "expertsX3.w1.weight"},
        MatchCase{"experts.*.w1.weight", "a.experts.w1.weight", kNone},
        MatchCase{"experts*.w1", "experts.w1", "experts.w1"}, MatchCase{"experts*.w1", "experts3.w1", "experts3.w1"},
        MatchCase{"experts.*.w1", "experts.3.w1_scale", kNone},
        // A star without a dot behind it is a quantifier, and so is one in front of a literal dot written `\.`.
        MatchCase{"ab*c", "xabbbc", "abbbc"},
        MatchCase{"model.language_model.*", "model.language_model.layers.0.w", "model.language_model.layers.0.w"},
        MatchCase{"a.*\\.w", "a.b.c.w", "a.b.c.w"},
        // Not a glob inside a character class, nor when the star is a literal one.
        MatchCase{"a[*.]b", "a.b", "a.b"}, MatchCase{"a\\*.b", "a.x.b", kNone}, MatchCase{"a\\*.b", "a*xb", "a*xb"}));

INSTANTIATE_TEST_SUITE_P(
    NameBoundary, Matching,
    ::testing::Values(MatchCase{"weight", "a.weight", "weight"}, MatchCase{"weight", "a.weight.b", "weight"},
                      MatchCase{"weight", "a.weight_scale_inv", kNone}, MatchCase{"weight", "a.weight2", kNone},
                      MatchCase{"weight", "a.weights", kNone}, MatchCase{"w1", "a.w1.b", "w1"},
                      MatchCase{"w1", "a.w12", kNone},
                      // No boundary on the left, nor after a source that does not end in a letter or digit.
                      MatchCase{"weight", "a.qweight", "weight"}, MatchCase{"hc_", "hc_norm", "hc_"},
                      MatchCase{"norm.", "norm.weight", "norm."}, MatchCase{"(weight)", "weights", "weight"},
                      MatchCase{"^lm_head", "lm_head.weight", "lm_head"}, MatchCase{"weight$", "a.weight.b", kNone}));

INSTANTIATE_TEST_SUITE_P(
    RegularExpressions, Matching,
    ::testing::Values(MatchCase{".block_sparse_moe.", "model.layers.0.block_sparse_moe.gate", ".block_sparse_moe."},
                      MatchCase{"a.b", "aXb", "aXb"},  // unescaped dot: any character
                      MatchCase{"a\\.b", "aXb", kNone}, MatchCase{"^model", "x.model", kNone},
                      MatchCase{"(?<!x)norm\\.", "xnorm.layers.0.norm.w", "norm."},
                      MatchCase{"^model\\.(?!language_model\\.)(.+)", "model.layers.0", "model.layers.0"},
                      MatchCase{"^model\\.(?!language_model\\.)(.+)", "model.language_model.layers.0", kNone}));

TEST(Pattern, TheLookBehindMatchIsTheSecondOccurrence) {
    std::string const name = "xnorm.layers.0.norm.w";
    EXPECT_EQ(Pattern({"(?<!x)norm\\."}).find(name)->begin, name.rfind("norm."));
}

struct AlternationCase {
    std::vector<std::string> sources;
    char const* name;
    std::size_t source;  ///< the one that wins, in authored order
};

class Alternation : public ::testing::TestWithParam<AlternationCase> {};

TEST_P(Alternation, PicksTheSource) {
    auto const& [sources, name, expected] = GetParam();
    auto const match = Pattern(sources).find(name);
    ASSERT_TRUE(match);
    EXPECT_EQ(match->source, expected);
}

INSTANTIATE_TEST_SUITE_P(
    Pattern, Alternation,
    ::testing::Values(
        AlternationCase{{"weight", "weight.absmax"}, "a.weight.absmax", 1},  // the longest text is tried first
        AlternationCase{{"weight", "weight.absmax"}, "a.weight", 0},
        AlternationCase{{"w.1", "w..", "w\\d"}, "w.1", 0},  // ties go to the first
        AlternationCase{
            {"layers.0.long_name", "a"}, "a.layers.0.long_name", 1},  // the leftmost match beats the longer text
        AlternationCase{{"experts.*.w1.weight", "experts.*.w3.weight"}, "experts.7.w3.weight", 1}));

TEST(Pattern, TwoHundredSourcesAreToldApart) {
    std::vector<std::string> sources;
    for (int i = 0; i < 200; ++i) { sources.push_back("layer" + std::to_string(i) + ".*.weight"); }
    Pattern const pattern(sources);
    for (std::size_t i = 0; i < sources.size(); ++i) {
        auto const match = pattern.find("model.layer" + std::to_string(i) + ".sub.weight");
        ASSERT_TRUE(match);
        EXPECT_EQ(match->source, i);
    }
}

TEST(Pattern, GroupsBelongToTheBranchThatMatched) {
    Pattern const pattern({"a\\.(\\d+)\\.(x|y)", "longer_name\\.(\\w+)\\.*.w"});
    EXPECT_THAT(pattern.find("a.17.y")->groups, ElementsAre("17", "y"));
    EXPECT_FALSE(pattern.find("a.17.y")->star);
    auto const match = pattern.find("longer_name.q.5.w");
    ASSERT_TRUE(match);
    EXPECT_THAT(match->groups, ElementsAre("q"));
}

TEST(Pattern, TheStarIsTheTextOfTheLastGlob) {
    EXPECT_EQ(Pattern({"experts.*.w1.weight"}).find("mlp.experts.12.w1.weight")->star, "12");
    EXPECT_EQ(Pattern({"layers.*.experts.*.w1"}).find("layers.3.mlp.experts.12.w1")->star, "12");
}

TEST(Pattern, LookAroundAndUncapturedGroupsAreNoGroups) {
    EXPECT_THAT(Pattern({"^(?:model|base)\\.(?!vision)(?=l)(\\w+)"}).find("base.layers")->groups,
                ElementsAre("layers"));
    EXPECT_THAT(Pattern({"(?<=a\\.)(?<name>b)"}).find("a.b")->groups, ElementsAre("b"));
}

TEST(Pattern, AnErrorNamesTheSourceThatIsNoRegularExpression) {
    try {
        Pattern({"fine", "broken("});
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::input);
        EXPECT_THAT(error.what(), HasSubstr("'broken('"));
    }
}

TEST(Pattern, CatastrophicBacktrackingEndsInAnError) {
    // A name that makes the expression try exponentially many splits must not hang the job.
    EXPECT_THROW(Pattern({"^(a+)+(?=b)c"}).find(std::string(64, 'a') + "bdc"), Error);
}

struct TextCase {
    char const* text;
    char const* expected;
};

class Targets : public ::testing::TestWithParam<TextCase> {};

TEST_P(Targets, AreNormalisedToReplacementText) {
    EXPECT_EQ(normalize_target(GetParam().text), GetParam().expected) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Pattern, Targets,
    ::testing::Values(TextCase{"mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj"}, TextCase{"^encoder", "encoder"},
                      TextCase{"^^encoder", "^encoder"},  // one leading anchor only
                      TextCase{"model\\.language_model\\.\\1", "model.language_model.\\1"},
                      TextCase{"blocks.(\\d+).norm", "blocks.\\1.norm"},
                      TextCase{"a(?!b\\.(c))d", "ad"},  // look-around goes, with what is nested in it
                      TextCase{"(?<=x)a(?<!y)", "a"},
                      TextCase{"weight$", "weight$"}));  // a `$` stays, as in the reference

struct SubstitutionCase {
    char const* target;
    std::vector<std::string_view> groups;
    char const* expected;
};

class Substitution : public ::testing::TestWithParam<SubstitutionCase> {};

TEST_P(Substitution, PutsGroupsIn) {
    EXPECT_EQ(substitute_groups(GetParam().target, GetParam().groups), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Pattern, Substitution,
    ::testing::Values(SubstitutionCase{"layers.\\1.w", {"12"}, "layers.12.w"},
                      SubstitutionCase{"\\1.\\1", {"a"}, "a.a"}, SubstitutionCase{"\\2.\\1", {"a", "b"}, "b.a"},
                      SubstitutionCase{"\\1.\\2", {"a"}, "a.\\2"},  // no such group: stays text
                      SubstitutionCase{"\\1", {"\\1x"}, "\\1x"},    // what a group holds is not looked at again
                      SubstitutionCase{"a\\", {"x"}, "a\\"}));

}  // namespace
}  // namespace shardwise::test
