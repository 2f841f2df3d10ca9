// Architecture files, the sizes they compute, and how an architecture is found.
#include <algorithm>
#include <set>

#include <fmt/ranges.h>
#include <gmock/gmock.h>

#include <shardwise/architecture.hpp>
#include <shardwise/error.hpp>

#include "mapping/architecture_data.hpp"
#include "mapping/embedded_configs.hpp"
#include "mapping/model_config.hpp"
#include "mapping/size_expression.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// The message of the error that @p action throws, and its kind; a failure if it throws none.
template <class Action>
std::string refusal(Action action) {
    try {
        action();
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::input);
        return error.what();
    }
    ADD_FAILURE() << "accepted";
    return {};
}

struct ParseCase {
    char const* json;
    char const* where;     ///< file and key
    char const* expected;  ///< what was expected, or what is wrong
};

class ParseError : public ::testing::TestWithParam<ParseCase> {};

TEST_P(ParseError, NamesTheFileTheKeyAndWhatWasExpected) {
    auto const& [json, where, expected] = GetParam();
    EXPECT_THAT(refusal([&, text = json] { parse_architecture(text, "my.json"); }),
                AllOf(StartsWith(where), HasSubstr(expected)))
        << json;
}

INSTANTIATE_TEST_SUITE_P(
    Document, ParseError,
    ::testing::Values(ParseCase{"{", "my.json", "parse error"},
                      ParseCase{"[]", "my.json", "expected an object, found array"},
                      ParseCase{R"({"model_types": [], "plans": {}})", "my.json", "'family' is missing"},
                      ParseCase{R"({"family": "f", "plans": {}})", "my.json", "'model_types' is missing"},
                      ParseCase{R"({"family": "f", "model_types": []})", "my.json", "'plans' is missing"},
                      ParseCase{R"({"family": 3, "model_types": [], "plans": {}})", "my.json: family",
                                "expected a text, found number"},
                      ParseCase{R"({"family": "f", "model_types": [1], "plans": {}})", "my.json: model_types[0]",
                                "expected a text"},
                      ParseCase{R"({"family": "f", "model_types": [], "plans": {}, "transform": []})", "my.json",
                                "unknown key 'transform'; the nearest known one is 'transforms'"},
                      ParseCase{R"({"family": "f", "model_types": [], "plans": {}, "sizes": {"a": 3}})",
                                "my.json: sizes.a", "expected a text"},
                      ParseCase{R"({"family": "f", "model_types": [], "plans": {}, "tied": ["a"]})", "my.json: tied",
                                "expected an object"},
                      ParseCase{R"({"family": "f", "model_types": [], "plans": {}, "parts": {"a": {}}})",
                                "my.json: parts.a", "'config' is missing"},
                      ParseCase{R"({"family": "f", "model_types": [], "plans": {}, "ignore": "a("})", "my.json: ignore",
                                "'a(' is not a regular expression"},
                      ParseCase{R"({"family": "f", "model_types": [], "plans": {}, "keep_in_fp32": {"f": []}})",
                                "my.json: keep_in_fp32", "unknown key 'f'"},
                      ParseCase{R"({"family": "f", "model_types": ["t"], "plans": {}, "variants": {"u": {}}})",
                                "my.json: variants.u", "'u' is neither among the file's model_types nor"},
                      ParseCase{R"({"family": "f", "model_types": ["t"], "plans": {}, "variants": {"t, t": {}}})",
                                "my.json: variants.t, t", "'t' has another variant"},
                      ParseCase{R"({"family": "f", "model_types": "t", "plans": {}, "variants": {"t": {"family": 1}}})",
                                "my.json: variants.t", "unknown key 'family'"},
                      ParseCase{R"({"family": "f", "model_types": "t", "plans": {}, "variants": {"t": {"tied": 1}}})",
                                "my.json (t): tied", "expected an object"},
                      ParseCase{R"({"family": "f", "model_types": [], "plans": {}, "heads": {"keys": []}})",
                                "my.json: heads", "unknown key 'keys'"}));

#define WITH_RULE(rule) R"({"family": "f", "model_types": [], "plans": {}, "transforms": [)" rule "]}"

INSTANTIATE_TEST_SUITE_P(
    Transforms, ParseError,
    ::testing::Values(
        ParseCase{WITH_RULE(R"({"to": "b"})"), "my.json: transforms[0]", "expected one of the keys convert, rename"},
        ParseCase{WITH_RULE(R"({"rename": "a"})"), "my.json: transforms[0]", "'to' is missing"},
        ParseCase{WITH_RULE(R"({"rename": [], "to": "b"})"), "my.json: transforms[0].rename", "at least one pattern"},
        ParseCase{WITH_RULE(R"({"rename": "a(", "to": "b"})"), "my.json: transforms[0].rename",
                  "'a(' is not a regular expression"},
        ParseCase{WITH_RULE(R"({"rename": "a", "to": ["b", "c"]})"), "my.json: transforms[0].to",
                  "expected one target"},
        ParseCase{WITH_RULE(R"({"rename": "a", "to": "b", "offset": 1})"), "my.json: transforms[0]",
                  "unknown key 'offset'"},
        ParseCase{WITH_RULE(R"({"rename": "a", "rename_group": "a", "to": "b"})"), "my.json: transforms[0]",
                  "unknown key 'rename_group'"},
        ParseCase{WITH_RULE(R"({"rename_group": ["a", "b"], "to": ["b"]})"), "my.json: transforms[0].to",
                  "one target for each pattern"},
        ParseCase{WITH_RULE(R"({"rename_offset": "a", "to": "b"})"), "my.json: transforms[0]", "'offset' is missing"},
        ParseCase{WITH_RULE(R"({"add_prefix": "a", "remove_prefix": "b"})"), "my.json: transforms[0]",
                  "unknown key 'remove_prefix'"},
        ParseCase{WITH_RULE(R"({"use": "a", "scope": "b"})"), "my.json: transforms[0]", "unknown key 'scope'"},
        ParseCase{WITH_RULE(R"({"use": "a"})"), "my.json: transforms[0].use", "nothing is known here"},
        ParseCase{WITH_RULE(R"({"convert": "a", "to": "b", "ops": []})"), "my.json: transforms[0].ops",
                  "at least one operation"},
        ParseCase{WITH_RULE(R"({"convert": "a", "to": [], "ops": [{"op": "Chunk"}]})"), "my.json: transforms[0].to",
                  "at least one target"},
        ParseCase{WITH_RULE(R"({"convert": ["a", "b"], "to": ["c", "d"], "ops": [{"op": "Chunk"}]})"),
                  "my.json: transforms[0]", "one source or one target"},
        ParseCase{WITH_RULE(R"({"convert": "a", "to": "b", "ops": [{"op": "Chunc"}]})"),
                  "my.json: transforms[0].ops[0].op", "the nearest known one is 'Chunk'"},
        ParseCase{WITH_RULE(R"({"convert": "a", "to": "b", "ops": [{"dim": 0}]})"), "my.json: transforms[0].ops[0]",
                  "'op' is missing"},
        ParseCase{WITH_RULE(R"({"convert": "a", "to": "b", "ops": [{"op": "Chunk", "dim": -1}]})"),
                  "my.json: transforms[0].ops[0].dim", "a dimension from 0 to 7"},
        ParseCase{WITH_RULE(R"({"convert": "a", "to": "b", "ops": [{"op": "Chunk", "dim": 8}]})"),
                  "my.json: transforms[0].ops[0].dim", "a dimension from 0 to 7"},
        ParseCase{WITH_RULE(R"({"convert": "a", "to": "b", "ops": [{"op": "Chunk", "dim": "0"}]})"),
                  "my.json: transforms[0].ops[0].dim", "a whole number, found string"},
        ParseCase{WITH_RULE(R"({"convert": "a", "to": "b", "ops": [{"op": "Transpose", "dim": 0}]})"),
                  "my.json: transforms[0].ops[0]", "unknown key 'dim'"},
        ParseCase{WITH_RULE(R"({"convert": "a", "to": "b", "ops": [{"op": "Split"}]})"),
                  "my.json: transforms[0].ops[0]", "'sizes' is missing"},
        ParseCase{WITH_RULE(R"({"convert": "a", "to": "b", "ops": [{"op": "Interleave", "inverse": 1}]})"),
                  "my.json: transforms[0].ops[0].inverse", "true or false"}));

#define WITH_PLANS(plans) R"({"family": "f", "model_types": [], "plans": {)" plans "}}"

INSTANTIATE_TEST_SUITE_P(
    Plans, ParseError,
    ::testing::Values(
        ParseCase{WITH_PLANS(R"("tp": {"base": {"q": "colwize"}})"), "my.json: plans.tp.base.q",
                  "the nearest known one is 'colwise'"},
        ParseCase{WITH_PLANS(R"("tp": {"bases": {}})"), "my.json: plans.tp",
                  "unknown key 'bases'; the nearest known one is 'base'"},
        ParseCase{WITH_PLANS(R"("tp": {"base": {"q": {}}})"), "my.json: plans.tp.base.q", "'packed' is missing"},
        ParseCase{WITH_PLANS(R"("tp": {"base": {"q": {"shard": 0, "packed": {}}}})"), "my.json: plans.tp.base.q",
                  "unknown key 'packed'"},
        ParseCase{WITH_PLANS(R"("tp": {"base": {"q": {"packed": {"dim": 0, "blocks": []}}}})"),
                  "my.json: plans.tp.base.q.packed.blocks", "at least one block"},
        ParseCase{
            WITH_PLANS(R"("tp": {"base": {"q": {"packed": {"dim": 0, "blocks": [{"size": "a", "heads": "kv"}]}}}})"),
            "my.json: plans.tp.base.q.packed.blocks[0].heads", "expected 'query' or 'key_value', found 'kv'"},
        ParseCase{WITH_PLANS(R"("ep": {"extends": "tp"})"), "my.json: plans",
                  "'ep' extends 'tp', which is no plan of this file"},
        ParseCase{WITH_PLANS(R"("a": {"extends": "b"}, "b": {"extends": "a"})"), "my.json: plans", "extends itself"},
        ParseCase{WITH_PLANS(R"("a": {"extends": "a"})"), "my.json: plans", "'a' extends itself"}));

std::int64_t value_of(std::string const& name) {
    if (name == "heads") { return 32; }
    if (name == "head_dim") { return 64; }
    throw Error(Errc::input, "no size " + name);
}

struct SizeCase {
    char const* text;
    std::int64_t value;
};

class SizeExpression : public ::testing::TestWithParam<SizeCase> {};

bool contains(std::string const& list, std::int64_t number) {
    return list == "odd" && number % 2 == 1;
}

TEST_P(SizeExpression, HasTheValueOfArithmetic) {
    EXPECT_EQ(evaluate_size(GetParam().text, value_of, contains), GetParam().value) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(Sizes, SizeExpression,
                         ::testing::Values(SizeCase{"7", 7}, SizeCase{"heads", 32}, SizeCase{"heads * head_dim", 2048},
                                           SizeCase{"heads*head_dim", 2048}, SizeCase{" ( heads + 1 ) * 2 ", 66},
                                           SizeCase{"heads + 1 * 2", 34}, SizeCase{"10 - 3 - 2", 5},
                                           SizeCase{"64 / 4 / 2", 8}, SizeCase{"2 * heads / head_dim", 1},
                                           SizeCase{"2 - 5", -3}, SizeCase{"((((1))))", 1}, SizeCase{"7 % 4", 3},
                                           SizeCase{"2 * heads % 3 + 1", 2}, SizeCase{"heads == 31 + 1", 1},
                                           SizeCase{"heads == 31", 0}, SizeCase{"heads != 31", 1},
                                           SizeCase{"3*(heads!=32)", 0}, SizeCase{"(heads == 32) * 5", 5},
                                           SizeCase{"heads in odd", 0}, SizeCase{"2 + 1 in odd", 1},
                                           SizeCase{"(3 in odd) + (4 in odd)", 1}, SizeCase{"3 in even", 0}));

struct SizeErrorCase {
    std::string text;
    char const* reason;
};

class SizeError : public ::testing::TestWithParam<SizeErrorCase> {};

TEST_P(SizeError, NamesTheExpressionAndTheReason) {
    EXPECT_THAT(refusal([&] { evaluate_size(GetParam().text, value_of); }), HasSubstr(GetParam().reason))
        << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, SizeError,
    ::testing::Values(
        SizeErrorCase{"", "ends too early"}, SizeErrorCase{"heads +", "size 'heads +': ends too early"},
        SizeErrorCase{"heads / 5", "32 / 5 does not come out even"},
        SizeErrorCase{"heads / 0", "does not come out even"}, SizeErrorCase{"(heads", "a parenthesis is not closed"},
        SizeErrorCase{"heads)", "')' is left over"}, SizeErrorCase{"heads head_dim", "'head_dim' is left over"},
        SizeErrorCase{"2x", "'2x' is no number"}, SizeErrorCase{"1.5", "'1.5' is no number"},
        SizeErrorCase{"heads & 2", "'& 2' is left over"}, SizeErrorCase{"heads % 0", "32 % 0 is not defined"},
        SizeErrorCase{"heads ==", "ends too early"}, SizeErrorCase{"1 == 1 == 1", "'== 1' is left over"},
        SizeErrorCase{"1 in odd", "'in odd' is left over"}, SizeErrorCase{"-1", "'-1' is no name or number"},
        SizeErrorCase{"hidden", "no size hidden"}, SizeErrorCase{"9223372036854775807 + 1", "overflows"},
        SizeErrorCase{"4611686018427387904 * 2", "overflows"},
        SizeErrorCase{"0 - 9223372036854775807 - 2", "overflows"}, SizeErrorCase{"9223372036854775808", "is no number"},
        SizeErrorCase{"(0 - 9223372036854775807 - 1) / (0 - 1)", "overflows"},
        SizeErrorCase{std::string(100000, '('), "too many parentheses"}));

std::int64_t size_in(std::string const& sizes, std::string const& config, std::string const& expression) {
    auto const data =
        parse_architecture(R"({"family": "f", "model_types": [], "plans": {}, "sizes": )" + sizes + "}", "my.json");
    ModelConfig const model(config);
    return size_lookup(data.components.front(), model)(expression);
}

TEST(Sizes, ComeFromConfigJsonBeforeTheArchitecture) {
    constexpr char const* kDerived = R"({"head_dim": "hidden_size / heads", "kv_heads": "heads"})";
    EXPECT_EQ(size_in(kDerived, R"({"hidden_size": 64, "heads": 4})", "head_dim"), 16);
    EXPECT_EQ(size_in(kDerived, R"({"hidden_size": 64, "heads": 4, "head_dim": 32})", "head_dim"), 32);
    EXPECT_EQ(size_in(kDerived, R"({"hidden_size": 64, "heads": 4, "head_dim": null})", "kv_heads * head_dim"), 64);
}

TEST(Sizes, OfAMultimodalModelAreThoseOfItsText) {
    constexpr char const* kConfig =
        R"({"vocab": 10, "text_config": {"hidden_size": 64, "vocab": 20}, "vision_config": {"hidden_size": 32}})";
    EXPECT_EQ(size_in("{}", kConfig, "hidden_size"), 64);
    EXPECT_EQ(size_in("{}", kConfig, "vocab"), 10);
}

TEST(Sizes, OfASubConfigurationHaveItsNameInFront) {
    constexpr char const* kConfig = R"({"heads": 32, "vision_config": {"heads": 16}, "text_config": {"layers": 2}})";
    EXPECT_EQ(size_in("{}", kConfig, "vision_config.heads * 2 + heads"), 64);
    EXPECT_EQ(size_in("{}", kConfig, "text_config.layers"), 2);
    EXPECT_THAT(refusal([] { size_in("{}", kConfig, "audio_config.heads"); }), HasSubstr("'audio_config.heads'"));
}

TEST(Sizes, AMissingOneIsRefusedWithTheFileThatNeedsIt) {
    EXPECT_THAT(refusal([] { size_in(R"({"a": "b * 2"})", "{}", "a"); }),
                AllOf(HasSubstr("'b'"), HasSubstr("my.json")));
    EXPECT_THAT(refusal([] { size_in("{}", R"({"b": 1.5})", "b"); }), HasSubstr("whole number 'b'"));
}

TEST(Sizes, DefinedByThemselvesAreRefused) {
    EXPECT_THAT(refusal([] { size_in(R"({"a": "b", "b": "a"})", "{}", "a"); }), HasSubstr("defined by itself"));
}

TEST(ModelConfig, TakesTheFactsThatMappingNeeds) {
    ModelConfig const config(
        R"({"model_type": "llama", "architectures": ["LlamaForCausalLM", "X"], "tie_word_embeddings": true, )"
        R"("a": 3, "f": 2.0, "t": "4"})");
    EXPECT_EQ(config.model_type(), "llama");
    EXPECT_EQ(config.model_class(), "LlamaForCausalLM");
    EXPECT_FALSE(config.unties_embeddings());
    EXPECT_EQ(config.size("a"), 3);
    EXPECT_FALSE(config.size("f").has_value());
    EXPECT_FALSE(config.size("t").has_value());
}

TEST(ModelConfig, HasSubConfigurationsAndTruthAsOneAndZero) {
    ModelConfig const config(
        R"({"rows": 1, "yes": true, "no": false, "a": {"model_type": "t", "rows": 2, "b": {"rows": 3}}})");
    EXPECT_EQ(config.size("yes"), 1);
    EXPECT_EQ(config.size("no"), 0);
    EXPECT_EQ(config.sub("a").model_type(), "t");
    EXPECT_EQ(config.sub("a").size("rows"), 2);
    EXPECT_EQ(config.sub("a").sub("b").size("rows"), 3);
    EXPECT_EQ(config.sub("absent").size("rows"), 1) << "older files state a part's fields beside those of the whole";
    std::string deep = "{}";
    for (int i = 0; i < 1000; ++i) { deep = R"({"a": )" + deep + "}"; }
    EXPECT_NO_THROW(ModelConfig{deep});
}

TEST(ModelConfig, ToleratesWhatIsAbsentOrOfAnotherTypeAndRefusesWhatIsNoObject) {
    EXPECT_EQ(ModelConfig("").model_type(), "");
    ModelConfig const odd(
        R"({"model_type": null, "architectures": null, "tie_word_embeddings": null, "text_config": null})");
    EXPECT_EQ(odd.model_type(), "");
    EXPECT_EQ(odd.model_class(), "");
    EXPECT_FALSE(odd.unties_embeddings());
    EXPECT_TRUE(ModelConfig(R"({"tie_word_embeddings": false})").unties_embeddings());
    for (auto const* text : {"[]", "3", "{", "nonsense"}) { EXPECT_THROW(ModelConfig{text}, Error) << text; }
}

// What the build took out of each file is what the program would have read there.
TEST(EmbeddedConfigs, AreFoundByWhatTheyDescribe) {
    ASSERT_GT(embedded_configs().size(), 100U);
    for (auto const& config : embedded_configs()) {
        auto const header = parse_architecture_header(std::string(config.json), std::string(config.name));
        EXPECT_EQ(config.family, header.family);
        EXPECT_EQ(config.model_types, fmt::format("{}", fmt::join(header.model_types, " ")));
        EXPECT_EQ(config.model_classes, fmt::format("{}", fmt::join(header.model_classes, " ")));
    }
}

TEST(Architectures, EveryOneBuiltInLoadsByFamilyModelTypeAndClass) {
    std::set<std::string> families;
    std::set<std::string> types;
    for (auto const& config : embedded_configs()) {
        auto const header = parse_architecture_header(std::string(config.json), std::string(config.name));
        EXPECT_TRUE(families.insert(header.family).second) << header.family;
        EXPECT_EQ(header.family + ".json", config.name);
        if (header.family == "legacy") { continue; }
        EXPECT_EQ(Architecture::load(header.family).family(), header.family);
        for (auto const& type : header.model_types) {
            EXPECT_TRUE(types.insert(type).second) << type;
            auto const architecture = Architecture::load(type);
            EXPECT_EQ(architecture.family(), header.family) << type;
            EXPECT_THAT(architecture.plans(), Contains("tp")) << type;
            EXPECT_EQ(Architecture::for_config(R"({"model_type": ")" + type + "\"}").family(), header.family);
        }
        for (auto const& name : header.model_classes) {
            EXPECT_EQ(Architecture::for_config(R"({"architectures": [")" + name + "\"]}").family(), header.family);
        }
    }
    auto const known = Architecture::known_model_types();
    EXPECT_TRUE(std::is_sorted(known.begin(), known.end()));
    EXPECT_TRUE(std::includes(known.begin(), known.end(), types.begin(), types.end()));
}

TEST(Architectures, AnUnknownTypeIsRefusedWithTheNearestKnownOne) {
    EXPECT_THAT(refusal([] { Architecture::for_config(R"({"model_type": "mixtrl"})"); }),
                AllOf(HasSubstr("'mixtrl'"), HasSubstr("'mixtral'"), HasSubstr("--arch")));
    EXPECT_THAT(refusal([] { Architecture::load("lama"); }), AllOf(HasSubstr("'lama'"), HasSubstr("'llama'")));
    EXPECT_THAT(refusal([] { Architecture::load("something_else_entirely"); }),
                AllOf(HasSubstr("model types are"), HasSubstr("--help lists them")));
}

TEST(Architectures, ACheckpointThatDoesNotTellIsRefusedWithTheOption) {
    EXPECT_THAT(refusal([] { Architecture::for_config(""); }), AllOf(HasSubstr("no config.json"), HasSubstr("--arch")));
    EXPECT_THAT(refusal([] { Architecture::for_config("{}"); }), AllOf(HasSubstr("model_type"), HasSubstr("--arch")));
}

TEST(Architectures, AFileThatIsAbsentIsAnIoErrorWithItsName) {
    try {
        Architecture::load("./absent/arch.json");
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::io);
        EXPECT_THAT(error.what(), HasSubstr("./absent/arch.json"));
    }
}

}  // namespace
}  // namespace shardwise::test
