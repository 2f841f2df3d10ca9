// Architectures made of several files: parts, variants, transforms that are used elsewhere, a user's own rules, and the
// library they are all found in.
#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "mapping/architecture_data.hpp"
#include "support/error_of.hpp"
#include "support/model.hpp"

namespace shardwise::test {
namespace {

Placement::Kind kind_of(Parameter const& parameter) {
    auto const& cuts = parameter.placement.cuts;
    return cuts.empty() ? Placement::Kind::replicate : cuts.front().kind;
}

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

/// What @p action is refused with; empty if it is not.
template <class Action>
std::string refusal(Action action) {
    auto const error = error_of(action);
    return error && error->code() == Errc::input ? error->what() : "";
}

/// The architectures of this test, known once to the whole program.
void know_zoo() {
    static bool const known = [] {
        Architecture::add(R"({"family": "zoo_text", "model_types": ["zoo_text"], "base": "model",
            "sizes": {"kv": "num_attention_heads"}, "ignore": "^model\\.old", "tied": {"lm_head.w": "model.embed.w"},
            "keep_in_fp32": {"float16": ["norm"]}, "heads": {"query": ["layers.*.q"]},
            "transforms": [{"rename": "^blocks", "to": "layers"},
                {"convert": "experts.*.w", "to": "experts.all",
                 "ops": [{"op": "MergeModulelist", "dim": 0, "count": "num_experts"}]}],
            "plans": {"tp": {"base": {"layers.*.q": "colwise", "experts.all": "rowwise",
                                      "fused": {"packed": {"blocks": ["kv", "kv"]}}},
                             "head": {"lm_head": "colwise"}},
                      "ep": {"extends": "tp", "base": {"experts.all": "grouped_gemm"}}}})",
                          "zoo_text.json");
        Architecture::add(R"({"family": "zoo_tower", "model_types": ["zoo_tower"], "model_classes": ["ZooTower"],
            "base_class": "ZooTower", "transforms": [{"rename": "by_type", "to": "typed"}], "plans": {"tp": {}},
            "variants": {"ZooTower": {"transforms": [{"rename": "^tower\\.", "to": ""}]}}})",
                          "zoo_tower.json");
        Architecture::add(R"({"family": "zoo", "model_types": ["zoo", "zoo_flat"], "model_classes": ["ZooModel"],
            "base": "model", "base_class": "ZooModel",
            "parts": {"language": {"config": "text_config"}, "eyes": {"config": "vision_config",
                      "model_type": "zoo_tower"}},
            "tied": {"lm_head.w": "model.language.embed.w"},
            "transforms": [{"rename": "^language", "to": "model.language"}],
            "plans": {"tp": {"head": {"lm_head": "colwise"}}},
            "variants": {
                "zoo_flat": {"transforms": [{"use": "zoo_tower"}, {"rename": "^typed", "to": "model.language"}]},
                "ZooModel": {"base": "", "transforms": [{"rename": "^language.model", "to": "language"}]}}})",
                          "zoo.json");
        return true;
    }();
    EXPECT_TRUE(known);
}

constexpr char const* kConfig = R"({"model_type": "zoo", "num_experts": 7, "num_attention_heads": 3,
    "text_config": {"model_type": "zoo_text", "num_experts": 2, "num_attention_heads": 4},
    "vision_config": {"model_type": "something_else"}})";

Model zoo(std::vector<std::pair<std::string, Shape>> const& tensors, std::string const& config = kConfig,
          MappingOptions const& options = {}) {
    know_zoo();
    return Model(stored_tensors(tensors), Architecture::for_config(config), options, config);
}

MappingOptions tp2(std::string plan = "tp") {
    MappingOptions options;
    options.mesh.tp = 2;
    options.plan = std::move(plan);
    return options;
}

TEST(Parts, HaveTheRulesOfTheirOwnTypesBelowTheirModules) {
    auto const model = zoo({{"language.model.blocks.0.q.weight", {4, 4}},
                            {"blocks.1.q.weight", {4, 4}},
                            {"model.eyes.tower.by_type.w", {4, 4}},
                            {"model.eyes.w", {4, 4}},
                            {"lm_head.w", {4, 4}}},
                           kConfig, tp2());
    EXPECT_THAT(model.names(), ElementsAre("blocks.1.q.weight", "lm_head.w", "model.eyes.by_type.w", "model.eyes.w",
                                           "model.language.layers.0.q.weight"))
        << "a class is looked up before a type; rules of a part do not reach outside";
    EXPECT_EQ(kind_of(model["model.language.layers.0.q.weight"]), Placement::Kind::shard);
    EXPECT_EQ(kind_of(model["blocks.1.q.weight"]), Placement::Kind::replicate);
    EXPECT_EQ(kind_of(model["lm_head.w"]), Placement::Kind::shard);
}

TEST(Parts, LookUpSizesInTheirOwnConfiguration) {
    auto const model = zoo({{"model.language.layers.0.experts.0.w", {2, 2}},
                            {"model.language.layers.0.experts.1.w", {2, 2}},
                            {"model.language.fused", {8, 2}}},
                           kConfig, tp2());
    auto const& blocks = model["model.language.fused"].placement.cuts.at(0).blocks;
    EXPECT_EQ(blocks.size(), 2U) << "two blocks of 4 heads, not of 3";
    EXPECT_EQ(blocks[0].size, 4);
    auto const more_experts = std::string(kConfig).replace(std::string(kConfig).find("\"num_experts\": 2"), 16,
                                                           "\"num_experts\": 3");
    EXPECT_THAT(refusal([&] { zoo({{"model.language.layers.0.experts.0.w", {2, 2}}}, more_experts); }),
                AllOf(HasSubstr("zoo_text.json"), HasSubstr("experts.*.w")));
}

TEST(Parts, TakeTheFieldsOfTheWholeWhereTheyHaveNoConfiguration) {
    auto const model = zoo({{"model.language.layers.0.q.weight", {4, 4}}},
                           R"({"model_type": "zoo", "num_attention_heads": 4})", tp2());
    EXPECT_EQ(kind_of(model["model.language.layers.0.q.weight"]), Placement::Kind::replicate)
        << "no type is stated for the text, so it has no rules";
}

TEST(Parts, OfAnUnknownTypeHaveNoRules) {
    auto const model = zoo({{"model.language.blocks.0.q.weight", {4, 4}}},
                           R"({"model_type": "zoo", "text_config": {"model_type": "never_heard_of"}})", tp2());
    EXPECT_THAT(model.names(), ElementsAre("model.language.blocks.0.q.weight"));
    EXPECT_EQ(kind_of(model["model.language.blocks.0.q.weight"]), Placement::Kind::replicate);
}

TEST(Parts, GiveThePlansThatTheyHaveAndTheWholeHasNot) {
    std::vector<std::pair<std::string, Shape>> const tensors = {{"model.language.layers.0.experts.0.w", {2, 2}},
                                                                {"model.language.layers.0.experts.1.w", {2, 2}},
                                                                {"model.language.experts.all", {2, 4, 2}},
                                                                {"lm_head.w", {4, 4}}};
    auto const model = zoo(tensors, kConfig, tp2("ep"));
    EXPECT_EQ(kind_of(model["model.language.experts.all"]), Placement::Kind::expert);
    EXPECT_EQ(kind_of(model["lm_head.w"]), Placement::Kind::shard) << "as in plan tp";
    EXPECT_THAT(refusal([&] { zoo(tensors, kConfig, tp2("fsdp")); }),
                AllOf(HasSubstr("zoo.json has no plan 'fsdp'"), HasSubstr("ep, tp")));
}

TEST(Parts, IgnoreAndTieWhatTheirBaseModelDoes) {
    auto const model = zoo({{"model.language.old.w", {2, 2}}, {"old.w", {2, 2}}, {"model.language.embed.w", {2, 2}}});
    EXPECT_THAT(model.names(), ElementsAre("model.language.embed.w", "old.w"));
    EXPECT_THAT(model["model.language.embed.w"].aliases, ElementsAre("lm_head.w"));
}

TEST(Parts, KeepListsAreThoseOfAllParts) {
    know_zoo();
    EXPECT_THAT(Architecture::for_config(kConfig).data().keep_in_fp32.float16, ElementsAre("norm"));
}

TEST(Parts, DoNotGetTransformsThatSomethingAboveThemHasClaimed) {
    Architecture::add(R"({"family": "doll", "model_types": ["doll"], "parts": {"inner": {"config": "inner_config"}},
        "transforms": [{"rename": "a", "to": "ab"}], "plans": {"tp": {}}})",
                      "doll.json", true);
    constexpr char const* kDolls = R"({"model_type": "doll", "inner_config": {"model_type": "doll",
        "inner_config": {"model_type": "none"}}})";
    Model const model(stored_tensors({{"inner.a", {2}}, {"a", {2}}}), Architecture::for_config(kDolls), {}, kDolls);
    EXPECT_THAT(model.names(), ElementsAre("ab", "inner.ab")) << "once, by the rule of the whole";
}

TEST(Parts, BesideEachOtherAllGetTheTransformsOfTheirTypeOrClass) {
    know_zoo();
    Architecture::add(R"({"family": "twins", "model_types": ["twins"],
        "parts": {"left": {"config": "l"}, "right": {"config": "r"}, "one": {"config": "t", "model_type": "zoo_tower"},
                  "other": {"config": "t", "model_type": "zoo_tower"}}, "plans": {"tp": {}}})",
                      "twins.json", true);
    constexpr char const* kTwins = R"({"model_type": "twins", "l": {"model_type": "zoo_text"},
        "r": {"model_type": "zoo_text"}, "t": {}})";
    Model const model(stored_tensors({{"left.blocks.0.w", {2}},
                                      {"right.blocks.0.w", {2}},
                                      {"blocks.0.w", {2}},
                                      {"one.tower.w", {2}},
                                      {"other.tower.w", {2}},
                                      {"tower.w", {2}}}),
                      Architecture::for_config(kTwins), {}, kTwins);
    EXPECT_THAT(model.names(), UnorderedElementsAre("left.layers.0.w", "right.layers.0.w", "blocks.0.w", "one.w",
                                                    "other.w", "tower.w"));
}

TEST(Parts, WithoutEndAreRefused) {
    Architecture::add(R"({"family": "mirror", "model_types": ["mirror"],
        "parts": {"in": {"config": "c", "model_type": "mirror"}}, "plans": {}})",
                      "mirror.json", true);
    EXPECT_THAT(refusal([] { Architecture::load("mirror"); }),
                AllOf(HasSubstr("mirror.json"), HasSubstr("deeper than")));
}

TEST(Parts, WithAHeadKeepTheirBaseModelsPath) {
    Architecture::add(R"({"family": "choir", "model_types": ["choir"],
        "parts": {"singer": {"config": "c", "model_type": "zoo_text", "head": true}}, "plans": {"tp": {}}})",
                      "choir.json", true);
    constexpr char const* kChoir = R"({"model_type": "choir", "c": {"num_attention_heads": 4}})";
    Model const model(stored_tensors({{"singer.model.layers.0.q.weight", {4, 4}},
                                      {"singer.lm_head.weight", {4, 4}},
                                      {"singer.model.old", {4}},
                                      {"singer.layers.0.q.weight", {4, 4}},
                                      {"singer.model.embed.w", {4, 4}}}),
                      Architecture::for_config(kChoir), tp2(), kChoir);
    EXPECT_EQ(kind_of(model["singer.model.layers.0.q.weight"]), Placement::Kind::shard);
    EXPECT_EQ(kind_of(model["singer.lm_head.weight"]), Placement::Kind::shard);
    EXPECT_EQ(kind_of(model["singer.layers.0.q.weight"]), Placement::Kind::replicate);
    EXPECT_THAT(model["singer.model.embed.w"].aliases, ElementsAre("singer.lm_head.w"));
    EXPECT_EQ(model.names().size(), 4U) << "the old one is ignored";
}

TEST(Variants, OfAClassOrTypeReplaceTheKeysOfTheFile) {
    know_zoo();
    constexpr char const* kBaseModel = R"({"model_type": "zoo", "architectures": ["ZooModel"],
        "text_config": {"model_type": "zoo_text"}})";
    auto const base = zoo({{"language.model.layers.0.q.weight", {4, 4}}}, kBaseModel, tp2());
    EXPECT_THAT(base.names(), ElementsAre("language.layers.0.q.weight"));
    EXPECT_EQ(kind_of(base["language.layers.0.q.weight"]), Placement::Kind::shard);

    auto const flat = zoo({{"by_type.w", {4, 4}}}, R"({"model_type": "zoo_flat"})");
    EXPECT_THAT(flat.names(), ElementsAre("model.language.w")) << "another family's transforms, and one more";
}

TEST(Variants, OfTheBaseModelsClassApplyInsideAWholeModel) {
    auto const model = zoo({{"language.model.w", {4, 4}}, {"model.language.model.v", {4}}});
    EXPECT_THAT(model.names(), ElementsAre("model.language.v", "model.language.w"));
}

TEST(Variants, AreChosenByConfigJsonWhereTheFileIsNamed) {
    know_zoo();
    constexpr char const* kFlat = R"({"model_type": "zoo_flat"})";
    Model const model(stored_tensors({{"flat", {4}}}), Architecture::load("zoo"), {}, kFlat);
    EXPECT_THAT(model.names(), ElementsAre("flat")) << "zoo is a type, and that was asked for";
    auto const file = Architecture::parse(R"({"family": "f", "model_types": ["a", "b"], "plans": {"tp": {}},
        "variants": {"b": {"transforms": [{"rename": "x", "to": "y"}]}}})",
                                          "f.json");
    EXPECT_THAT(Model(stored_tensors({{"x", {4}}}), file, {}, R"({"model_type": "b"})").names(), ElementsAre("y"));
    EXPECT_THAT(Model(stored_tensors({{"x", {4}}}), file, {}, R"({"model_type": "a"})").names(), ElementsAre("x"));
}

TEST(Use, OfTransformsThatLeadInACircleIsRefused) {
    Architecture::add(R"({"family": "egg", "model_types": [], "plans": {}})", "egg.json", true);
    Architecture::add(R"({"family": "hen", "model_types": [], "transforms": [{"use": "egg"}], "plans": {}})",
                      "hen.json", true);
    Architecture::add(R"({"family": "egg", "model_types": [], "transforms": [{"use": "hen"}], "plans": {}})",
                      "egg.json", true);
    EXPECT_THAT(refusal([] { Architecture::load("egg"); }), AllOf(HasSubstr("egg.json"), HasSubstr("circle")));
}

TEST(Use, OfAnUnknownNameIsRefusedWithFileAndKey) {
    auto const error = refusal([] {
        Architecture::parse(R"({"family": "f", "model_types": [], "transforms": [{"use": "nothing"}], "plans": {}})",
                            "f.json");
    });
    EXPECT_THAT(error, AllOf(HasSubstr("f.json: transforms[0].use"), HasSubstr("'nothing'")));
}

TEST(Library, RefusesAFamilyTypeOrClassThatIsKnownAlready) {
    know_zoo();
    for (auto const* keys : {R"("family": "zoo", "model_types": [])", R"("family": "new", "model_types": "zoo_flat")",
                             R"("family": "new", "model_types": [], "model_classes": "ZooModel")"}) {
        auto const json = std::string("{") + keys + R"(, "plans": {}})";
        EXPECT_THAT(refusal([&] { Architecture::add(json, "new.json"); }),
                    AllOf(HasSubstr("new.json"), HasSubstr("zoo.json")))
            << keys;
    }
    EXPECT_THAT(refusal([] { Architecture::load("new"); }), HasSubstr("'new' is not known"));
}

TEST(Library, TakesANewDescriptionWhereItIsToldTo) {
    auto const described = [](char const* name) {
        return R"({"family": "twice", "model_types": ["twice"], "plans": {")" + std::string(name) + R"(": {}}})";
    };
    Architecture::add(described("a"), "a.json", true);
    Architecture::add(described("b"), "b.json", true);
    EXPECT_THAT(Architecture::load("twice").plans(), ElementsAre("b"));
}

TEST(Library, RefusesWhatIsWrong) {
    EXPECT_THAT(refusal([] {
                    Architecture::add(R"({"family": "bad", "model_types": "bad", "plans": {},
                        "transforms": [{"rename": "a(", "to": "b"}]})",
                                      "bad.json");
                }),
                HasSubstr("bad.json: transforms[0].rename"));
}

TEST(OwnRules, RunFirstAndReplaceThePlansRulesTheyName) {
    know_zoo();
    auto const architecture = Architecture::for_config(kConfig).with_rules(
        R"({"family": "mine", "model_types": [], "sizes": {"two": "2"},
            "transforms": [{"rename": "^lm\\.", "to": "language."}],
            "tied": {"tail.w": "lm_head.w"},
            "plans": {"tp": {"base": {"language.layers.*.q": {"packed": {"blocks": ["two", "two"]}},
                                      "language.nowhere": "colwise"}}}})",
        "mine.json");
    Model const model(stored_tensors({{"lm.layers.0.q.weight", {4, 4}}, {"lm_head.w", {4, 4}}}), architecture, tp2(),
                      kConfig);
    EXPECT_THAT(model.names(), ElementsAre("lm_head.w", "model.language.layers.0.q.weight"));
    EXPECT_EQ(kind_of(model["model.language.layers.0.q.weight"]), Placement::Kind::packed);
    EXPECT_EQ(kind_of(model["lm_head.w"]), Placement::Kind::shard) << "the architecture's rule still holds";
    EXPECT_THAT(model["lm_head.w"].aliases, ElementsAre("model.language.embed.w", "tail.w"));
    ASSERT_EQ(model.warnings().size(), 1U) << "only about the user's own rules";
    EXPECT_THAT(model.warnings().back(), AllOf(HasSubstr("mine.json"), HasSubstr("language.nowhere")));
}

TEST(OwnRules, HaveNoBaseOrPartsAndExtendNoOtherPlan) {
    know_zoo();
    for (auto const* more : {R"("base": "model", "plans": {})", R"("parts": {"a": {"config": "b"}}, "plans": {})",
                             R"("plans": {"a": {}, "tp": {"extends": "a"}})"}) {
        auto const json = std::string(R"({"family": "mine", "model_types": [], )") + more + "}";
        EXPECT_THAT(refusal([&] { Architecture::load("zoo").with_rules(json, "mine.json"); }), HasSubstr("mine.json"))
            << more;
    }
}

TEST(OwnRules, MayTakeTensorsButNotMakeAParameterTwice) {
    know_zoo();
    auto const architecture = Architecture::load("zoo").with_rules(
        R"({"family": "mine", "model_types": [], "plans": {},
            "transforms": [{"convert": "qk", "to": ["q", "k"], "ops": [{"op": "Chunk"}]}]})",
        "mine.json");
    EXPECT_THAT(refusal([&] {
                    Model(stored_tensors({{"qk", {4}}, {"q", {2}}}), architecture);
                }),
                AllOf(HasSubstr("parameter q has two sources"), HasSubstr("'qk' of mine.json")));
}

TEST(Record, RestoresTypeClassAndTheUsersRules) {
    know_zoo();
    constexpr char const* kMine = R"({"family": "mine", "model_types": [], "plans": {"tp": {"base": {"x": "colwise"}}},
        "transforms": [{"rename": "^lm\\.", "to": "language."}]})";
    auto const stored = stored_tensors({{"lm.model.layers.0.q.weight", {4, 4}}, {"x.w", {4, 4}}});
    for (auto const* config : {R"({"model_type": "zoo", "text_config": {"model_type": "zoo_text"}})",
                               R"({"model_type": "zoo", "architectures": ["ZooModel"],
                                   "text_config": {"model_type": "zoo_text"}})"}) {
        for (auto const& architecture : {Architecture::for_config(config), Architecture::load("zoo")}) {
            auto const mine = architecture.with_rules(kMine, "mine.json");
            Model const before(stored, mine, tp2(), config);
            Model const after(stored, Architecture::restore(mine.describe(), "record"), tp2(), config);
            EXPECT_EQ(after.names(), before.names()) << config;
            EXPECT_EQ(after.warnings(), before.warnings());
            EXPECT_EQ(kind_of(after["x.w"]), Placement::Kind::shard);
            EXPECT_EQ(kind_of(after[after.names().front()]), Placement::Kind::shard);
        }
    }
    EXPECT_THAT(refusal([] { Architecture::restore("{}", "record"); }), HasSubstr("record"));
}

}  // namespace
}  // namespace shardwise::test
