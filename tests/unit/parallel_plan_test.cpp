// Which rule of a plan a parameter has, and what mapping makes of plans, ties, filters and heads.
#include "mapping/parallel_plan.hpp"

#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "mapping/architecture_data.hpp"
#include "support/error_of.hpp"
#include "support/model.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(Generalize, EveryNumberBecomesAStar) {
    EXPECT_EQ(generalize("layers.0.mlp.experts.12.w1"), "layers.*.mlp.experts.*.w1");
    EXPECT_EQ(generalize("a.0.1.b"), "a.*.*.b");
    EXPECT_EQ(generalize("layers.10"), "layers.*");
    EXPECT_EQ(generalize("w1.weight2.3x"), "w1.weight2.3x");
}

struct RuleCase {
    char const* name;
    char const* rule;  ///< key of the rule that is found; null for none
};

class FindRule : public ::testing::TestWithParam<RuleCase> {};

TEST_P(FindRule, LooksUpTheNameThenItsModule) {
    std::map<std::string, PlacementRule> const rules = {
        {"layers.*.q_proj", {Cut::columns, 0, {}}}, {"layers.*.q_proj.bias", {Cut::none, 0, {}}},
        {"layers.*.experts", {Cut::none, 0, {}}},   {"layers.*.experts.down_proj", {Cut::rows, 0, {}}},
        {"layers.*", {Cut::second, 0, {}}},         {"embed_tokens", {Cut::first, 0, {}}}};
    auto const* found = find_rule(rules, GetParam().name);
    auto const* expected = GetParam().rule == nullptr ? nullptr : &rules.at(GetParam().rule);
    EXPECT_EQ(found, expected) << GetParam().name;
}

INSTANTIATE_TEST_SUITE_P(
    Plan, FindRule,
    ::testing::Values(RuleCase{"layers.7.q_proj.weight", "layers.*.q_proj"},
                      RuleCase{"layers.7.q_proj.bias", "layers.*.q_proj.bias"},
                      RuleCase{"layers.0.experts.down_proj", "layers.*.experts.down_proj"},
                      RuleCase{"layers.0.experts.gate", "layers.*.experts"},
                      RuleCase{"embed_tokens.weight", "embed_tokens"},
                      // Only the module itself: neither a module above it nor one whose name goes on.
                      RuleCase{"layers.0.experts.3.w1", nullptr}, RuleCase{"layers.0.q_proj.lora.weight", nullptr},
                      RuleCase{"layers.0.q_proj_2.weight", nullptr}, RuleCase{"x.layers.0.q_proj.weight", nullptr},
                      RuleCase{"norm.weight", nullptr}, RuleCase{"weight", nullptr}));

constexpr char const* kMoePlans = R"({"family": "t", "model_types": [], "base": "model", "plans": {
    "tp": {"base": {"layers.*.q_proj": "colwise", "layers.*.mlp.experts.gate_up_proj": "packed_colwise",
                    "layers.*.mlp.experts": "moe_tp_experts", "layers.*.mlp.experts_gate": "colwise"},
           "head": {"lm_head": "colwise_gather_output"}},
    "ep": {"extends": "tp", "base": {"layers.*.mlp.experts": "grouped_gemm"}},
    "head_only": {"head": {"lm_head": "colwise"}},
    "own_embedding": {"base": {"embed_tokens": "embedding_colwise"}},
    "uncut_embedding": {"extends": "tp", "base": {"embed_tokens": "replicate"}},
    "two_up": {"extends": "ep", "head": {"lm_head": "replicate"}}}})";

std::map<std::string, Cut> cuts(std::map<std::string, PlacementRule> const& rules) {
    std::map<std::string, Cut> result;
    for (auto const& [name, rule] : rules) { result.emplace(name, rule.cut); }
    return result;
}

TEST(FlattenPlan, AnExpertPlanReplacesTheRulesBelowWhatItNames) {
    auto const plan = flatten_plan(parse_architecture(kMoePlans, "t.json"), "ep");
    EXPECT_EQ(cuts(plan.base), (std::map<std::string, Cut>{{"layers.*.q_proj", Cut::columns},
                                                           {"layers.*.mlp.experts", Cut::experts},
                                                           {"layers.*.mlp.experts_gate", Cut::columns},
                                                           {"embed_tokens", Cut::first}}));
    EXPECT_EQ(cuts(plan.head), (std::map<std::string, Cut>{{"lm_head", Cut::columns}}));
}

TEST(FlattenPlan, FollowsExtensionsOfExtensions) {
    auto const plan = flatten_plan(parse_architecture(kMoePlans, "t.json"), "two_up");
    EXPECT_EQ(cuts(plan.base).at("layers.*.mlp.experts"), Cut::experts);
    EXPECT_EQ(cuts(plan.head).at("lm_head"), Cut::none);
}

TEST(FlattenPlan, TheEmbeddingIsCutByVocabularyWhereverLayersAreCut) {
    auto const data = parse_architecture(kMoePlans, "t.json");
    EXPECT_EQ(cuts(flatten_plan(data, "tp").base).at("embed_tokens"), Cut::first);
    EXPECT_EQ(cuts(flatten_plan(data, "own_embedding").base).at("embed_tokens"), Cut::second);
    EXPECT_EQ(cuts(flatten_plan(data, "uncut_embedding").base).at("embed_tokens"), Cut::none);
    EXPECT_THAT(flatten_plan(data, "head_only").base, IsEmpty());
}

TEST(FlattenPlan, AnUnknownPlanIsRefusedWithThoseThereAre) {
    try {
        flatten_plan(parse_architecture(kMoePlans, "t.json"), "fsdp");
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::input);
        EXPECT_THAT(error.what(), AllOf(HasSubstr("t.json"), HasSubstr("'fsdp'"), HasSubstr("ep"), HasSubstr("tp")));
    }
}

constexpr char const* kDensePlan =
    R"("layers.*.q_proj": "colwise", "layers.*.k_proj": "colwise", "layers.*.o_proj": "rowwise")";

TEST(Mapping, NamesInsideTheBaseModelAreLookedUpWithoutItsPrefix) {
    auto const tensors = stored_tensors(
        {{"model.layers.0.q_proj.weight", {4, 2}}, {"model.embed_tokens.weight", {4, 2}}, {"model.norm.weight", {2}}});
    Model const model(tensors, architecture_of("", kDensePlan), {.mesh = {.tp = 2}});
    EXPECT_EQ(to_string(model["model.layers.0.q_proj.weight"].placement), "shard 0");
    EXPECT_EQ(to_string(model["model.embed_tokens.weight"].placement), "shard 0");
    EXPECT_EQ(to_string(model["model.norm.weight"].placement), "replicate");
}

TEST(Mapping, ACheckpointOfTheBaseModelAloneIsCutTheSameWay) {
    auto const tensors = stored_tensors(
        {{"layers.0.q_proj.weight", {4, 2}}, {"layers.0.o_proj.weight", {4, 2}}, {"embed_tokens.weight", {4, 2}}});
    Model const model(tensors, architecture_of("", kDensePlan), {.mesh = {.tp = 2}});
    EXPECT_EQ(to_string(model["layers.0.q_proj.weight"].placement), "shard 0");
    EXPECT_EQ(to_string(model["layers.0.o_proj.weight"].placement), "shard 1");
    EXPECT_EQ(to_string(model["embed_tokens.weight"].placement), "shard 0");
}

TEST(Mapping, AnotherModuleWithTheSameLayerNamesIsNotTheBaseModel) {
    Model const model(
        stored_tensors({{"mtp.layers.0.q_proj.weight", {4, 2}}, {"models.layers.0.q_proj.weight", {4, 2}}}),
        architecture_of("", kDensePlan), {.mesh = {.tp = 2}});
    EXPECT_EQ(to_string(model["mtp.layers.0.q_proj.weight"].placement), "replicate");
    EXPECT_EQ(to_string(model["models.layers.0.q_proj.weight"].placement), "replicate");
}

TEST(Mapping, ScalarsUnderARuleAreHeldWhole) {
    Model const model(stored_tensors({{"model.layers.0.q_proj.input_scale", {}}}), architecture_of("", kDensePlan),
                      {.mesh = {.tp = 2}});
    EXPECT_EQ(to_string(model["model.layers.0.q_proj.input_scale"].placement), "replicate");
}

TEST(Mapping, ATensorThatCannotBeCutIsNamed) {
    try {
        Model(stored_tensors({{"model.layers.3.q_proj.weight", {4}}}),
              architecture_of("", R"("layers.*.q_proj": {"shard": 1})"), {.mesh = {.tp = 2}});
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_THAT(error.what(),
                    AllOf(HasSubstr("model.layers.3.q_proj.weight"), HasSubstr("[4]"), HasSubstr("dimension 1")));
    }
}

constexpr char const* kHeads =
    R"("heads": {"query": ["layers.*.q_proj", "layers.*.o_proj"], "key_value": ["layers.*.k_proj"]})";
constexpr char const* kHeadConfig = R"({"num_attention_heads": 8, "num_key_value_heads": 2})";

Model attention(std::int64_t tp, KvHeads kv_heads) {
    auto const tensors = stored_tensors({{"model.layers.0.q_proj.weight", {32, 2}},
                                         {"model.layers.0.k_proj.weight", {8, 2}},
                                         {"model.layers.0.k_proj.bias", {8}},
                                         {"model.layers.0.o_proj.weight", {2, 32}},
                                         {"model.layers.1.k_proj.weight", {8, 2}}});
    return Model(tensors, architecture_of("", kDensePlan, kHeads), {.mesh = {.tp = tp}, .kv_heads = kv_heads},
                 kHeadConfig);
}

TEST(Mapping, HeadsThatAreCutAreWarnedOfOnceAKind) {
    EXPECT_THAT(attention(1, KvHeads::cut).warnings(), IsEmpty());
    EXPECT_THAT(attention(2, KvHeads::cut).warnings(), IsEmpty());
    auto const warnings = attention(4, KvHeads::cut).warnings();
    ASSERT_EQ(warnings.size(), 1U);
    EXPECT_THAT(warnings.front(),
                AllOf(HasSubstr("--tp 4"), HasSubstr("layers.*.k_proj.weight (2 heads of 4, pieces of 2)"),
                      HasSubstr("--kv-heads replicate")));
    EXPECT_THAT(warnings.front(), ::testing::Not(HasSubstr("q_proj")));
    EXPECT_THAT(attention(3, KvHeads::cut).warnings(),
                ElementsAre(AllOf(HasSubstr("q_proj"), HasSubstr("o_proj"), HasSubstr("k_proj"))));
}

TEST(Mapping, RulesOfOnesOwnThatFitNothingAreWarnedOf) {
    auto const tensors = stored_tensors({{"model.layers.0.up.weight", {4, 2}}, {"model.embed.weight", {4, 2}}});
    auto const warnings_of = [&](std::string const& rules, std::string const& more = "") {
        return Model(tensors, architecture_of("", rules, more), {.mesh = {.tp = 2}}).warnings();
    };
    EXPECT_THAT(warnings_of(R"("layers.*.up": "colwise")"), IsEmpty());
    EXPECT_THAT(warnings_of(R"("layers.*.upp": "colwise", "layers.*.up": "colwise")"),
                ElementsAre(AllOf(HasSubstr("t.json"), HasSubstr("plan tp"), HasSubstr(": layers.*.upp"))));
    EXPECT_THAT(warnings_of(R"("layers.*.norm": "replicate", "layers.*.up": "colwise")"), IsEmpty())
        << "cuts nothing anyway";
    EXPECT_THAT(warnings_of(R"("head": "colwise")", R"("tied": {"model.head.weight": "model.embed.weight"})"),
                IsEmpty())
        << "the other name of a tied parameter counts";
}

TEST(Mapping, ReplicatedKeyValueHeadsAreWholeOnEveryRankAndBesideTheirQueries) {
    auto const model = attention(4, KvHeads::replicate);
    EXPECT_THAT(model.warnings(), IsEmpty());
    auto const k = model.whole("model.layers.0.k_proj.weight");
    auto const bias = model.whole("model.layers.0.k_proj.bias");
    for (std::int64_t rank = 0; rank < 4; ++rank) {
        auto const head = rank / 2;
        EXPECT_EQ(model.shard("model.layers.0.k_proj.weight", rank), sliced(k, 0, head * 4, head * 4 + 4)) << rank;
        EXPECT_EQ(model.shard("model.layers.0.k_proj.bias", rank), sliced(bias, 0, head * 4, head * 4 + 4)) << rank;
        EXPECT_EQ(model.shard("model.layers.0.q_proj.weight", rank),
                  sliced(model.whole("model.layers.0.q_proj.weight"), 0, rank * 8, rank * 8 + 8))
            << rank;
    }
}

TEST(Mapping, KeyValueHeadsThatCannotBeReplicatedAreRefusedWithTheTensor) {
    try {
        attention(3, KvHeads::replicate);
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_THAT(error.what(), AllOf(HasSubstr("k_proj"), HasSubstr("2 key/value heads"), HasSubstr("--tp 3")));
    }
}

constexpr char const* kTied = R"("tied": {"lm_head.weight": "model.embed_tokens.weight"})";

std::map<std::string, std::vector<std::string>> aliases(std::vector<std::pair<std::string, Shape>> const& tensors,
                                                        std::string const& config,
                                                        std::vector<std::string> const& exclude = {}) {
    MappingOptions options;
    options.exclude = exclude;
    Model const model(stored_tensors(tensors), architecture_of("", "", kTied), options, config);
    std::map<std::string, std::vector<std::string>> result;
    for (auto const& name : model.names()) { result.emplace(name, model[name].aliases); }
    return result;
}

using Aliases = std::map<std::string, std::vector<std::string>>;
constexpr char const* kYes = R"({"tie_word_embeddings": true})";

TEST(TiedNames, AreTiedIfTheConfigurationDoesNotSay) {
    // Gemma's class ties by default, and its published config.json leaves the field out.
    EXPECT_EQ(aliases({{"model.embed_tokens.weight", {2, 2}}}, "{}"),
              (Aliases{{"model.embed_tokens.weight", {"lm_head.weight"}}}));
    EXPECT_EQ(aliases({{"model.embed_tokens.weight", {2, 2}}, {"lm_head.weight", {2, 2}}}, "{}"),
              (Aliases{{"model.embed_tokens.weight", {}}, {"lm_head.weight", {}}}));
}

TEST(TiedNames, OneThatIsStoredButNotChosenIsNoAlias) {
    EXPECT_EQ(aliases({{"model.embed_tokens.weight", {2, 2}}, {"lm_head.weight", {2, 2}}}, kYes, {"lm_head.*"}),
              (Aliases{{"model.embed_tokens.weight", {}}}));
}

TEST(TiedNames, TheOneThatIsStoredStandsForBoth) {
    EXPECT_EQ(aliases({{"model.embed_tokens.weight", {2, 2}}}, kYes),
              (Aliases{{"model.embed_tokens.weight", {"lm_head.weight"}}}));
    EXPECT_EQ(aliases({{"lm_head.weight", {2, 2}}}, kYes),
              (Aliases{{"lm_head.weight", {"model.embed_tokens.weight"}}}));
    // Both stored: what the file says is not thrown away.
    EXPECT_EQ(aliases({{"model.embed_tokens.weight", {2, 2}}, {"lm_head.weight", {2, 2}}}, kYes),
              (Aliases{{"model.embed_tokens.weight", {}}, {"lm_head.weight", {}}}));
    EXPECT_EQ(aliases({{"model.embed_tokens.weight", {2, 2}}}, R"({"tie_word_embeddings": false})"),
              (Aliases{{"model.embed_tokens.weight", {}}}));
}

TEST(Filters, KeepWhatIsIncludedAndNotExcluded) {
    auto const tensors = stored_tensors(
        {{"model.layers.0.a", {1}}, {"model.layers.1.a", {1}}, {"model.layers.1.b", {1}}, {"lm_head.weight", {1}}});
    auto const names = [&](MappingOptions options) { return Model(tensors, architecture_of(""), options).names(); };
    EXPECT_THAT(names({.include = {"model.layers.1.*"}, .exclude = {}}),
                UnorderedElementsAre("model.layers.1.a", "model.layers.1.b"));
    EXPECT_THAT(names({.include = {}, .exclude = {"*.a", "lm_head*"}}), ElementsAre("model.layers.1.b"));
    EXPECT_THAT(names({.include = {"model.*"}, .exclude = {"*.[1-9].*"}}), ElementsAre("model.layers.0.a"));
    EXPECT_THROW(names({.include = {"nothing"}, .exclude = {}}), Error);
}

TEST(Filters, AreMatchedWithNamesAfterConversion) {
    auto const tensors = stored_tensors({{"old.0.w", {1}}, {"kept.w", {1}}});
    EXPECT_THAT(
        Model(tensors, architecture_of(R"({"rename": "^old", "to": "new"})"), {.include = {"new.*"}, .exclude = {}})
            .names(),
        ElementsAre("new.0.w"));
}

constexpr char const* kExpertPlan = R"({"family": "t", "model_types": [], "base": "model", "plans": {
    "tp": {"base": {"layers.*.q_proj": "colwise", "layers.*.mlp.up_proj": "colwise"}},
    "ep": {"extends": "tp", "base": {"layers.*.experts.up": "grouped_gemm", "layers.*.experts": "ep_dispatch_experts",
                                     "layers.*.mlp.up_proj": "colwise"}}}})";

std::map<std::string, std::string> placements(Model const& model) {
    std::map<std::string, std::string> result;
    for (auto const& name : model.names()) { result.emplace(name, to_string(model[name].placement)); }
    return result;
}

Model with_experts(std::int64_t experts, MappingOptions options) {
    auto const tensors = stored_tensors({{"model.layers.0.q_proj.weight", {8, 2}},
                                         {"model.layers.0.mlp.up_proj.weight", {8, 2}},
                                         {"model.layers.0.experts.up", {experts, 2, 2}},
                                         {"model.layers.0.experts.scale", {experts}},
                                         {"model.layers.0.router.weight", {experts, 2}}});
    return Model(tensors, Architecture::parse(kExpertPlan, "t.json"), options);
}

TEST(Experts, RulesOfTheExpertPlanLieOnItsViewOfTheMeshAndInheritedOnesDoNot) {
    auto const held = placements(with_experts(8, {.mesh = {.fsdp = 4, .tp = 2, .ep = 4}, .plan = "ep"}));
    EXPECT_EQ(held, (std::map<std::string, std::string>{
                        {"model.layers.0.q_proj.weight", "shard 0, then shard 0 over fsdp"},
                        {"model.layers.0.mlp.up_proj.weight", "shard 0 over ep, then shard 0 over efsdp"},
                        {"model.layers.0.experts.up", "expert 0 over ep, then shard 0 over efsdp"},
                        {"model.layers.0.experts.scale", "shard 0 over efsdp"},
                        {"model.layers.0.router.weight", "shard 0 over fsdp"}}));
}

TEST(Experts, WithoutAWordAreDealtToTheTensorParallelRanks) {
    auto const held = placements(with_experts(8, {.mesh = {.tp = 2}, .plan = "ep"}));
    EXPECT_EQ(held.at("model.layers.0.experts.up"), "expert 0");
    EXPECT_EQ(held.at("model.layers.0.experts.scale"), "replicate");
}

TEST(Experts, ThatDoNotComeOutEvenAreDealtAndWarnedOfWithTheNumbers) {
    auto const warnings = [](std::int64_t experts, Mesh const& mesh) {
        return with_experts(experts, {.mesh = mesh, .plan = "ep"}).warnings();
    };
    EXPECT_THAT(warnings(8, {.fsdp = 4, .ep = 4}), IsEmpty());
    EXPECT_THAT(warnings(5, {.tp = 4}),
                ElementsAre(HasSubstr("--tp 4: 5 experts do not come out even: 2 hold 2, 1 hold 1, 1 hold none")));
    EXPECT_THAT(warnings(2, {.fsdp = 4, .ep = 4}),
                ElementsAre(HasSubstr("--ep 4: 2 experts do not come out even: 2 hold 1, 2 hold none")));
    auto const model = with_experts(5, {.mesh = {.tp = 4}, .plan = "ep"});
    auto const whole = model.whole("model.layers.0.experts.up");
    EXPECT_EQ(model.shard("model.layers.0.experts.up", 1), sliced(whole, 0, 2, 4));
    EXPECT_EQ(model.shard("model.layers.0.experts.up", 2), sliced(whole, 0, 4, 5));
    EXPECT_EQ(model.shard("model.layers.0.experts.up", 3), sliced(whole, 0, 5, 5));
}

TEST(Experts, APlanThatDealsNoneIsWarnedOf) {
    EXPECT_THAT(with_experts(8, {.mesh = {.fsdp = 4, .ep = 4}}).warnings(),
                ElementsAre(AllOf(HasSubstr("--ep 4"), HasSubstr("plan tp"))));
}

TEST(StrictDivisible, RefusesExpertsAndWhatFsdpCannotCutEvenly) {
    auto const refusal = [](std::int64_t experts, Mesh const& mesh) {
        return error_of([&] { with_experts(experts, {.mesh = mesh, .plan = "ep", .strict_divisible = true}); });
    };
    EXPECT_EQ(refusal(8, {.fsdp = 4, .ep = 4}), std::nullopt);
    EXPECT_THAT(refusal(6, {.fsdp = 4, .ep = 4}), IsError(Errc::input, "model.layers.0.experts"));
    EXPECT_THAT(refusal(6, {.fsdp = 4, .ep = 4}), IsError(Errc::input, "into 4 equal parts"));
    // 8 rows on two tp ranks leave 4, which three fsdp ranks cannot share.
    EXPECT_THAT(refusal(6, {.fsdp = 3, .tp = 2}), IsError(Errc::input, "into 3 equal parts"));
}

TEST(StrictDivisible, RefusesAnUnevenCutWithTheTensor) {
    auto const tensors = stored_tensors({{"model.layers.0.q_proj.weight", {5, 2}}});
    EXPECT_NO_THROW(Model(tensors, architecture_of("", kDensePlan),
                          {.mesh = {.tp = 5}, .strict_divisible = true, .include = {}, .exclude = {}}));
    EXPECT_NO_THROW(Model(tensors, architecture_of("", kDensePlan), {.mesh = {.tp = 2}}));
    try {
        Model(tensors, architecture_of("", kDensePlan),
              {.mesh = {.tp = 2}, .strict_divisible = true, .include = {}, .exclude = {}});
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_THAT(error.what(),
                    AllOf(HasSubstr("model.layers.0.q_proj.weight"), HasSubstr("[5, 2]"), HasSubstr("2 equal parts")));
    }
}

}  // namespace
}  // namespace shardwise::test
