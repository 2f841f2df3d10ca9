// Whole checkpoints through a list of rules: the reference's own cases with their results, and what must be refused.
#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "support/model.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr char const* kExperts = R"(
    {"convert": ["experts.*.w1.weight", "experts.*.w3.weight"], "to": "experts.gate_up_proj",
     "ops": [{"op": "MergeModulelist", "dim": 0}, {"op": "Concatenate", "dim": 1}]},
    {"convert": "experts.*.w2.weight", "to": "experts.down_proj", "ops": [{"op": "MergeModulelist", "dim": 0}]})";

/// Two layers of two experts with a fused qkv and a dense projection, as the reference's own test has them.
Stored two_layers() {
    std::vector<std::pair<std::string, Shape>> tensors;
    for (std::string const layer : {"0", "1"}) {
        auto const at = "model.layers." + layer;
        for (std::string const expert : {"0", "1"}) {
            tensors.push_back({at + ".experts." + expert + ".w1.weight", {2, 2}});
            tensors.push_back({at + ".experts." + expert + ".w2.weight", {2, 2}});
            tensors.push_back({at + ".experts." + expert + ".w3.weight", {2, 2}});
        }
        tensors.push_back({at + ".self_attn.qkv_proj.weight", {6, 2}});
        tensors.push_back({at + ".mlp.w2.weight", {2, 2}});
    }
    return stored_tensors(tensors);
}

std::string with_qkv_rule(std::string const& source, std::string const& target) {
    return std::string(kExperts) + R"(, {"rename": "mlp.w2.weight", "to": "mlp.down_proj.weight"}, {"convert": ")" +
           source + R"(", "to": [")" + target + R"(q_proj.weight", ")" + target + R"(k_proj.weight", ")" + target +
           R"(v_proj.weight"], "ops": [{"op": "Chunk", "dim": 0}]})";
}

TEST(Conversion, ARuleForOneLayerLeavesTheOtherLayerAsStored) {
    auto const rules = with_qkv_rule("model.layers.0.self_attn.qkv_proj.weight", "model.layers.0.self_attn.");
    Model const model(two_layers(), architecture_of(rules));
    EXPECT_THAT(model.names(), UnorderedElementsAre(
                                   "model.layers.0.experts.down_proj", "model.layers.0.experts.gate_up_proj",
                                   "model.layers.0.mlp.down_proj.weight", "model.layers.0.self_attn.k_proj.weight",
                                   "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.v_proj.weight",
                                   "model.layers.1.experts.down_proj", "model.layers.1.experts.gate_up_proj",
                                   "model.layers.1.mlp.down_proj.weight", "model.layers.1.self_attn.qkv_proj.weight"));
}

TEST(Conversion, ExpertsAndQkvOfEveryLayerHaveTheExactValues) {
    auto const stored = two_layers();
    Model const model(stored, architecture_of(with_qkv_rule("self_attn.qkv_proj.weight", "self_attn.")));
    for (std::string const at : {"model.layers.0", "model.layers.1"}) {
        auto const tensor = [&](std::string const& name) { return stored.at(at + name); };
        EXPECT_EQ(model.whole(at + ".experts.gate_up_proj"),
                  joined({stacked({tensor(".experts.0.w1.weight"), tensor(".experts.1.w1.weight")}, 0),
                          stacked({tensor(".experts.0.w3.weight"), tensor(".experts.1.w3.weight")}, 0)},
                         1));
        EXPECT_EQ(model.whole(at + ".experts.down_proj"),
                  stacked({tensor(".experts.0.w2.weight"), tensor(".experts.1.w2.weight")}, 0));
        auto const qkv = tensor(".self_attn.qkv_proj.weight");
        EXPECT_EQ(model.whole(at + ".self_attn.q_proj.weight"), sliced(qkv, 0, 0, 2));
        EXPECT_EQ(model.whole(at + ".self_attn.k_proj.weight"), sliced(qkv, 0, 2, 4));
        EXPECT_EQ(model.whole(at + ".self_attn.v_proj.weight"), sliced(qkv, 0, 4, 6));
        EXPECT_EQ(model.whole(at + ".mlp.down_proj.weight"), tensor(".mlp.w2.weight"));
    }
}

TEST(Conversion, ChunkedAndPermutedQkv) {
    auto const stored = stored_tensors({{"attn.qkv.weight", {24, 1}}});
    Model const model(stored, architecture_of(R"({"convert": "qkv", "to": ["q_proj", "k_proj", "v_proj"],
                          "ops": [{"op": "Chunk", "dim": 0},
                          {"op": "PermuteForRope", "names": ["q_proj", "k_proj"]}]})"),
                      {}, R"({"num_attention_heads": 2})");
    EXPECT_THAT(model.whole("attn.q_proj.weight").values, ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
    EXPECT_THAT(model.whole("attn.k_proj.weight").values, ElementsAre(8, 10, 9, 11, 12, 14, 13, 15));
    EXPECT_THAT(model.whole("attn.v_proj.weight").values, ElementsAre(16, 17, 18, 19, 20, 21, 22, 23));
}

TEST(Conversion, AScopedRuleTouchesOnlyItsSubModel) {
    auto const stored = stored_tensors({{"vision.old.w", {1}}, {"text.old.w", {1}}, {"old.w", {1}}});
    Model const model(stored, architecture_of(R"({"rename": "old", "to": "new", "scope": "vision"})"));
    EXPECT_THAT(model.names(), UnorderedElementsAre("vision.new.w", "text.old.w", "old.w"));
}

TEST(Conversion, ARenameLeadsIntoTheScopeOfAConverter) {
    auto const stored = stored_tensors({{"decoder.layers.0.qkv.weight", {6}}, {"other.layers.0.qkv.weight", {6}}});
    Model const model(stored, architecture_of(R"({"rename": "^decoder", "to": "encoder"},
        {"convert": "qkv", "to": ["q", "k", "v"], "ops": [{"op": "Chunk", "dim": 0}], "scope": "encoder"})"));
    EXPECT_THAT(model.names(), UnorderedElementsAre("encoder.layers.0.q.weight", "encoder.layers.0.k.weight",
                                                    "encoder.layers.0.v.weight", "other.layers.0.qkv.weight"));
    EXPECT_THAT(model.whole("encoder.layers.0.k.weight").values, ElementsAre(2, 3));
}

TEST(Conversion, AConverterWorksOnWeightAndBiasApart) {
    auto const stored = stored_tensors({{"a.qkv.weight", {6, 1}}, {"a.qkv.bias", {3}}});
    Model const model(stored,
                      architecture_of(R"({"convert": "qkv", "to": ["q", "k", "v"], "ops": [{"op": "Chunk"}]})"));
    EXPECT_THAT(model.names(),
                UnorderedElementsAre("a.q.weight", "a.k.weight", "a.v.weight", "a.q.bias", "a.k.bias", "a.v.bias"));
    EXPECT_THAT(model.whole("a.v.bias").values, ElementsAre(8));
}

TEST(Conversion, ExpertsAreOrderedByNumberNotByText) {
    std::vector<std::pair<std::string, Shape>> tensors;
    for (int expert = 11; expert >= 0; --expert) {
        tensors.push_back({"experts." + std::to_string(expert) + ".w2.weight", {1}});
    }
    Model const model(stored_tensors(tensors), architecture_of(kExperts));
    EXPECT_THAT(model.whole("experts.down_proj").values, ElementsAre(11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
}

TEST(Conversion, ExpertsMissingAtTheEndAreNoticedByTheCountInConfigJson) {
    auto const architecture = architecture_of(R"({"convert": "experts.*.w2.weight", "to": "experts.down_proj",
        "ops": [{"op": "MergeModulelist", "dim": 0, "count": "num_experts"}]})");
    auto const stored = stored_tensors({{"experts.0.w2.weight", {2}}, {"experts.1.w2.weight", {2}}});
    EXPECT_NO_THROW(Model(stored, architecture, {}, R"({"num_experts": 2})"));
    EXPECT_NO_THROW(Model(stored, architecture, {}, "{}")) << "a config.json that does not say";
    try {
        Model(stored, architecture, {}, R"({"num_experts": 3})");
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::input);
        EXPECT_THAT(error.what(), AllOf(HasSubstr("making experts.down_proj"), HasSubstr("2 tensors match"),
                                        HasSubstr("'experts.*.w2.weight'"), HasSubstr("'num_experts' is 3")));
    }
}

TEST(Conversion, PartsOfATableMissingAtTheEndAreNoticedByTheCountInConfigJson) {
    auto const architecture = architecture_of(R"({"convert": "table.shard_*.weight", "to": "table.weight",
        "ops": [{"op": "Concatenate", "dim": 0, "count": "parts"}]})");
    auto const stored = stored_tensors({{"table.shard_0.weight", {2}}, {"table.shard_1.weight", {2}}});
    EXPECT_NO_THROW(Model(stored, architecture, {}, R"({"parts": 2})"));
    EXPECT_THROW(Model(stored, architecture, {}, R"({"parts": 4})"), Error);
}

TEST(Conversion, ExpertsThatAreFusedAlreadyPassThrough) {
    auto const stored = stored_tensors({{"experts.gate_up_proj", {2, 4, 2}}, {"experts.down_proj", {2, 2, 2}}});
    Model const model(stored, architecture_of(kExperts));
    EXPECT_EQ(model.whole("experts.gate_up_proj"), stored.at("experts.gate_up_proj"));
    EXPECT_EQ(model.whole("experts.down_proj"), stored.at("experts.down_proj"));
}

TEST(Conversion, ARankKeepsItsExpertOfEveryPart) {
    // Two experts on two ranks, w1 and w3 of two rows: rank 0 holds (1, 4, 2), rows of w1 of expert 0 before those of
    // w3.
    auto const stored = stored_tensors({{"experts.0.w1.weight", {2, 2}},
                                        {"experts.0.w3.weight", {2, 2}},
                                        {"experts.1.w1.weight", {2, 2}},
                                        {"experts.1.w3.weight", {2, 2}}});
    Model const model(stored, architecture_of(kExperts, R"("experts.gate_up_proj": "grouped_gemm")"),
                      {.mesh = {.tp = 2}});
    auto const shard = model.shard("experts.gate_up_proj", 0);
    EXPECT_EQ(shard.shape, (Shape{1, 4, 2}));
    EXPECT_THAT(shard.values, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
    EXPECT_THAT(model.shard("experts.gate_up_proj", 1).values, ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
}

TEST(Conversion, IgnoredTensorsAreNoParameters) {
    auto const stored =
        stored_tensors({{"layers.0.rotary_emb.inv_freq", {4}}, {"layers.0.w", {4}}, {"inv_freq_w", {1}}});
    Model const model(stored, architecture_of("", "", R"("ignore": ["rotary_emb\\.inv_freq$"])"));
    EXPECT_THAT(model.names(), UnorderedElementsAre("layers.0.w", "inv_freq_w"));
}

TEST(Conversion, ParametersComeInNaturalOrder) {
    auto const stored = stored_tensors({{"layers.10.w", {1}}, {"layers.2.w", {1}}, {"layers.2.b", {1}}, {"a", {1}}});
    EXPECT_THAT(Model(stored, architecture_of("")).names(),
                ElementsAre("a", "layers.2.b", "layers.2.w", "layers.10.w"));
}

TEST(Conversion, LegacyNamesAreRenamedForEveryArchitecture) {
    auto const stored =
        stored_tensors({{"enc.LayerNorm.gamma", {1}}, {"enc.LayerNorm.beta", {1}}, {"conv.weight_g", {1}}});
    EXPECT_THAT(
        Model(stored, architecture_of("")).names(),
        UnorderedElementsAre("enc.LayerNorm.weight", "enc.LayerNorm.bias", "conv.parametrizations.weight.original0"));
}

struct ConversionRefused {
    char const* what;
    std::vector<std::pair<std::string, Shape>> stored;
    char const* transforms;
    std::vector<char const*> named;  ///< what the message must contain
};

std::ostream& operator<<(std::ostream& out, ConversionRefused const& refused) {
    return out << refused.what;
}

class RefusedConversion : public ::testing::TestWithParam<ConversionRefused> {};

TEST_P(RefusedConversion, WithTheRuleAndTheTensors) {
    auto const& [what, tensors, transforms, named] = GetParam();
    try {
        Model(stored_tensors(tensors), architecture_of(transforms));
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::input);
        for (auto const* text : named) { EXPECT_THAT(error.what(), HasSubstr(text)); }
    }
}

INSTANTIATE_TEST_SUITE_P(
    Conversion, RefusedConversion,
    ::testing::Values(
        // The reference shifts later experts into the gap, on some ranks without a word.
        ConversionRefused{
            "a missing expert",
            {{"m.experts.0.w2.weight", {2}}, {"m.experts.2.w2.weight", {2}}, {"m.experts.3.w2.weight", {2}}},
            kExperts,
            {"making m.experts.down_proj", "number 1 of 'experts.*.w2.weight' is missing", "up to number 3"}},
        ConversionRefused{"the first expert missing",
                          {{"m.experts.1.w2.weight", {2}}},
                          kExperts,
                          {"number 0 of 'experts.*.w2.weight' is missing"}},
        ConversionRefused{
            "one part of the last expert missing",
            {{"experts.0.w1.weight", {2, 2}}, {"experts.1.w1.weight", {2, 2}}, {"experts.0.w3.weight", {2, 2}}},
            kExperts,
            {"making experts.gate_up_proj", "2 tensors match 'experts.*.w1.weight' but 1 match 'experts.*.w3.weight'"}},
        ConversionRefused{"one part of every expert missing",
                          {{"experts.0.w1.weight", {2, 2}}},
                          kExperts,
                          {"making experts.gate_up_proj", "no tensor matches its source 'experts.*.w3.weight'"}},
        ConversionRefused{"one number twice",
                          {{"experts.0.w2.weight", {2}}, {"experts.00.w2.weight", {2}}},
                          kExperts,
                          {"experts.0.w2.weight", "experts.00.w2.weight", "number 0"}},
        ConversionRefused{"a word where the number should stand",
                          {{"experts.shared.w2.weight", {2}}},
                          kExperts,
                          {"experts.shared.w2.weight", "'shared'"}},
        ConversionRefused{"experts of other shapes",
                          {{"experts.0.w2.weight", {2}}, {"experts.1.w2.weight", {3}}},
                          kExperts,
                          {"making experts.down_proj", "MergeModulelist", "[2]", "[3]"}},
        ConversionRefused{"a source of a concatenation missing",
                          {{"gate.weight", {2}}},
                          R"({"convert": ["gate", "up"], "to": "gate_up", "ops": [{"op": "Concatenate"}]})",
                          {"making gate_up.weight", "no tensor matches its source 'up'"}},
        ConversionRefused{"two tensors renamed to one",
                          {{"a.w", {2}}, {"b.w", {2}}},
                          R"({"rename": "^a", "to": "c"}, {"rename": "^b", "to": "c"})",
                          {"c.w has two sources", "a.w", "b.w"}},
        ConversionRefused{"a tensor renamed to one that is there",
                          {{"a.w", {2}}, {"b.w", {2}}},
                          R"({"rename": "^a", "to": "b"})",
                          {"b.w has two sources", "a.w"}},
        ConversionRefused{"experts both single and fused",
                          {{"experts.0.w2.weight", {2}}, {"experts.down_proj", {1, 2}}},
                          kExperts,
                          {"experts.down_proj has two sources", "experts.0.w2.weight"}},
        ConversionRefused{"two converters making one parameter",
                          {{"x.w", {2}}, {"y.w", {2}}},
                          R"({"convert": "x", "to": "z", "ops": [{"op": "Interleave"}]}, )"
                          R"({"convert": "y", "to": "z", "ops": [{"op": "Interleave"}]})",
                          {"z.w has two sources", "x.w", "y.w"}},
        ConversionRefused{"a rule that leaves a list",
                          {{"shard_0.w", {2}}, {"shard_1.w", {2}}},
                          R"({"convert": "shard_*.w", "to": "w", "ops": [{"op": "SplitModulelist"}]})",
                          {"making w", "SplitModulelist", "takes one tensor"}}));

TEST(Conversion, TheOperationsErrorNamesTheParameter) {
    try {
        Model(stored_tensors({{"model.layers.3.qkv.weight", {4}}}),
              architecture_of(R"({"convert": "qkv", "to": ["q", "k", "v"], "ops": [{"op": "Chunk", "dim": 0}]})"));
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_THAT(error.what(), AllOf(HasSubstr("making model.layers.3.q.weight"), HasSubstr("Chunk")));
    }
}

TEST(Conversion, TwoConvertersOfTheSameTextKeepTheirOwnOperations) {
    auto const architecture = architecture_of(
        R"({"convert": "qkv", "to": ["q", "k"], "scope": "a", "ops": [{"op": "Chunk"}]},
           {"convert": "qkv", "to": "t", "scope": "b", "ops": [{"op": "Transpose"}]})");
    auto const stored = stored_tensors({{"model.a.qkv", {4, 3}}, {"model.b.qkv", {4, 3}}});
    Model const model(stored, architecture);
    EXPECT_THAT(model.names(), ElementsAre("model.a.k", "model.a.q", "model.b.t"));
    EXPECT_EQ(model.whole("model.b.t"), swapped(stored.at("model.b.qkv"), 0, 1));
    EXPECT_EQ(model.whole("model.a.k"), sliced(stored.at("model.a.qkv"), 0, 2, 4));
}

TEST(Conversion, AScopeThatIsEmptyIsTheBaseModel) {
    auto const architecture = architecture_of(R"({"rename": "^a", "to": "b", "scope": ""})");
    Model const model(stored_tensors({{"model.a", {2}}, {"a", {2}}, {"model.model.a", {2}}}), architecture);
    EXPECT_THAT(model.names(), ElementsAre("b", "model.b", "model.model.a"));
}

TEST(Conversion, NamesOfTheModelDecideWhatIsConvertedAlready) {
    auto const architecture = architecture_of(R"({"rename": "^encoder", "to": "model"}, {"rename": "^old", "to": "new"},
        {"convert": "w", "to": ["q", "k"], "ops": [{"op": "Chunk"}]})", "", R"("ignore": "norm")");
    auto const stored = stored_tensors({{"encoder.w", {4}}, {"old.v", {4}}, {"norm", {2}}, {"final_norm", {2}}});
    MappingOptions options;
    for (auto const* name : {"model.q", "model.k", "old.v", "model.norm"}) { options.expected[name] = {}; }
    EXPECT_THAT(Model(stored, architecture, options).names(), ElementsAre("model.k", "model.norm", "model.q", "old.v"))
        << "a parameter of the model is not ignored, whatever the patterns say";
}

TEST(Conversion, ATensorThatStandsWhereAConverterPutsOneIsRefusedWithTheRule) {
    auto const architecture = architecture_of(R"({"convert": "qk", "to": ["q", "k"], "ops": [{"op": "Chunk"}]})");
    try {
        Model(stored_tensors({{"qk", {4}}, {"k", {2}}}), architecture);
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_THAT(error.what(), AllOf(HasSubstr("parameter k has two sources"), HasSubstr("'qk' of t.json")));
    }
}

TEST(Conversion, TextAndVisionExpertsOfTwoLayersGoIntoTheirOwnStacks) {
    std::vector<std::pair<std::string, Shape>> tensors;
    for (std::string const layer : {"0", "1"}) {
        for (std::string const expert : {"0", "1", "2", "3"}) {
            for (std::string const role : {"down", "gate", "up"}) {
                tensors.push_back({"layers." + layer + ".mlp.experts." + expert + "." + role + "_proj.weight", {2, 2}});
            }
        }
    }
    auto const stored = stored_tensors(tensors);
    Model const model(stored, architecture_of(R"(
        {"convert": "experts.*.down_proj.weight", "to": ["text_moe.experts.down_proj", "vision_moe.experts.down_proj"],
         "ops": [{"op": "ErnieFuseAndSplitTextVisionExperts"}]},
        {"convert": ["experts.*.gate_proj.weight", "experts.*.up_proj.weight"],
         "to": ["text_moe.experts.gate_up_proj", "vision_moe.experts.gate_up_proj"],
         "ops": [{"op": "ErnieFuseAndSplitTextVisionExperts"}]})"));
    EXPECT_EQ(model.names().size(), 8U);
    for (std::string const layer : {"0", "1"}) {
        auto const of = [&](std::string const& expert, std::string const& role) {
            return stored.at("layers." + layer + ".mlp.experts." + expert + "." + role + "_proj.weight");
        };
        auto const at = "layers." + layer + ".mlp.";
        EXPECT_EQ(model.whole(at + "text_moe.experts.down_proj"), stacked({of("0", "down"), of("1", "down")}, 0));
        EXPECT_EQ(model.whole(at + "vision_moe.experts.down_proj"), stacked({of("2", "down"), of("3", "down")}, 0));
        auto const gate_up = [&](std::string const& first, std::string const& second) {
            return joined({stacked({of(first, "gate"), of(second, "gate")}, 0),
                           stacked({of(first, "up"), of(second, "up")}, 0)},
                          1);
        };
        EXPECT_EQ(model.whole(at + "text_moe.experts.gate_up_proj"), gate_up("0", "1"));
        EXPECT_EQ(model.whole(at + "vision_moe.experts.gate_up_proj"), gate_up("2", "3"));
    }
}

TEST(Conversion, AllThatCannotBeMadeIsToldAtOnce) {
    auto const architecture = architecture_of(R"({"convert": "qkv", "to": ["q", "k", "v"], "ops": [{"op": "Chunk"}]})");
    auto const stored = stored_tensors({{"a.qkv", {4}}, {"b.qkv", {6}}, {"c.qkv", {1}}});
    try {
        Model(stored, architecture);
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_THAT(error.what(), AllOf(HasSubstr("2 parameters cannot be made: making a.q by the rule for 'qkv'"),
                                        HasSubstr("; making c.q by the rule for 'qkv'")));
    }
}

TEST(Conversion, WhatARuleForOneLayerLeavesIsMissingAndUnexpected) {
    auto const rules = with_qkv_rule("model.layers.0.self_attn.qkv_proj.weight", "model.layers.0.self_attn.");
    auto const every_layer = with_qkv_rule("self_attn.qkv_proj.weight", "self_attn.");
    MappingOptions options;
    for (auto const& name : Model(two_layers(), architecture_of(every_layer)).names()) { options.expected[name] = {}; }
    auto const differences = map_parameters(catalog_of(two_layers()), architecture_of(rules), options).differences;
    EXPECT_THAT(differences.missing,
                ElementsAre("model.layers.1.self_attn.k_proj.weight", "model.layers.1.self_attn.q_proj.weight",
                            "model.layers.1.self_attn.v_proj.weight"));
    EXPECT_THAT(differences.unexpected, ElementsAre("model.layers.1.self_attn.qkv_proj.weight"));
    EXPECT_TRUE(differences.mismatched.empty());
}

}  // namespace
}  // namespace shardwise::test
