// How a list of rules turns names of stored tensors into names of parameters. The inputs and results are the
// reference's.
#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "mapping/architecture_data.hpp"
#include "mapping/mapped_names.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;

using ::testing::HasSubstr;

/// The rules of a configuration that has only those.
std::vector<Transform> rules(std::string const& transforms) {
    auto data = parse_architecture(
        R"({"family": "t", "model_types": [], "plans": {}, "transforms": [)" + transforms + "]}", "t.json");
    return std::move(data.transforms);
}

std::vector<std::string> renamed(std::string const& transforms, std::vector<std::string> const& names,
                                 std::string_view base = "model") {
    std::vector<std::string> result;
    auto const mapped = map_names(rules(transforms), {names.begin(), names.end()}, base);
    for (auto const& own : mapped.list) { result.emplace_back(own.name); }
    return result;
}

struct RenameCase {
    char const* what;
    char const* rules;
    std::vector<std::string> names;
    std::vector<std::string> expected;
};

std::ostream& operator<<(std::ostream& out, RenameCase const& rename) {
    return out << rename.what;
}

class Renaming : public ::testing::TestWithParam<RenameCase> {};

TEST_P(Renaming, GivesTheNamesOfTheReference) {
    auto const& [what, text, names, expected] = GetParam();
    EXPECT_EQ(renamed(text, names), expected) << what;
}

INSTANTIATE_TEST_SUITE_P(
    Plain, Renaming,
    ::testing::Values(
        RenameCase{"text before and after the match is kept",
                   R"j({"rename": "block_sparse_moe.experts.*.w1.weight", "to": "mlp.experts.gate_up_proj"})j",
                   {"foo.block_sparse_moe.experts.3.w1.weight"},
                   {"foo.mlp.experts.gate_up_proj"}},
        RenameCase{"a quantifier swallows the rest",
                   R"j({"rename": "model.language_model.*", "to": "language_model"})j",
                   {"model.language_model.layers.0.w"},
                   {"language_model"}},
        RenameCase{"a name without match stays",
                   R"j({"rename": "abc", "to": "x"})j",
                   {"model.layers.0.w"},
                   {"model.layers.0.w"}},
        RenameCase{"the match is replaced where it stands, not where its text occurs first",
                   R"j({"rename": "(?<!x)norm\\.", "to": "N."})j",
                   {"xnorm.layers.0.norm.w"},
                   {"xnorm.layers.0.N.w"}},
        RenameCase{"only one match in a name", R"j({"rename": "mlp", "to": "ffn"})j", {"mlp.0.mlp.w"}, {"ffn.0.mlp.w"}},
        RenameCase{"a group is put in",
                   R"j({"rename": "h\\.(\\d+)\\.attn", "to": "layers.\\1.self_attn"})j",
                   {"h.12.attn.w"},
                   {"layers.12.self_attn.w"}},
        RenameCase{"of the branch that matched",
                   R"j({"rename": ["left_(\\d+)", "right_side_(\\d+)"], "to": "x.\\1"})j",
                   {"left_1.w", "right_side_2.w"},
                   {"x.1.w", "x.2.w"}},
        RenameCase{"a second group stays as text",
                   R"j({"rename": "h\\.(\\d+)\\.(\\w+)", "to": "\\1.\\2"})j",
                   {"h.1.attn"},
                   {R"(1.\2)"}},
        RenameCase{"renames are chained in order",
                   R"j({"rename": "^a", "to": "b"}, {"rename": "^b", "to": "c"}, {"rename": "^a", "to": "d"})j",
                   {"a.w", "b.w"},
                   {"c.w", "c.w"}},
        RenameCase{"a renamed name is not seen by an earlier rule",
                   R"j({"rename": "^b", "to": "c"}, {"rename": "^a", "to": "b"})j",
                   {"a.w"},
                   {"b.w"}},
        RenameCase{"an anchor in the target is dropped",
                   R"j({"rename": "^decoder", "to": "^encoder"})j",
                   {"decoder.w"},
                   {"encoder.w"}}));

INSTANTIATE_TEST_SUITE_P(
    Legacy, Renaming,
    ::testing::Values(RenameCase{"gamma",
                                 R"j({"rename": "LayerNorm.gamma", "to": "LayerNorm.weight"})j",
                                 {"a.LayerNorm.gamma", "a.LayerNorm.gamma_2"},
                                 {"a.LayerNorm.weight", "a.LayerNorm.gamma_2"}},
                      RenameCase{"weight_g",
                                 R"j({"rename": ".weight_g", "to": ".parametrizations.weight.original0"})j",
                                 {"conv.weight_g", "conv.weight_gate"},
                                 {"conv.parametrizations.weight.original0", "conv.weight_gate"}},
                      RenameCase{
                          "two sources, the longer first",
                          R"j({"rename": ["^model\\.language_model\\.model", "^language_model\\.model\\.model"], )j"
                          R"j("to": "model.language_model"})j",
                          {"model.language_model.model.layers.0.w", "language_model.model.model.norm.w"},
                          {"model.language_model.layers.0.w", "model.language_model.norm.w"}}));

INSTANTIATE_TEST_SUITE_P(
    Prefixes, Renaming,
    ::testing::Values(RenameCase{"removed",
                                 R"j({"remove_prefix": "text_model"})j",
                                 {"text_model.layers.0.w", "vision.text_model.w", "text_model_x.w"},
                                 {"layers.0.w", "vision.text_model.w", "text_model_x.w"}},
                      RenameCase{"removed within",
                                 R"j({"remove_prefix": "model", "within": "vlm"})j",
                                 {"vlm.model.w", "model.w"},
                                 {"vlm.w", "model.w"}},
                      RenameCase{"removed once", R"j({"remove_prefix": "model"})j", {"model.model.w"}, {"model.w"}},
                      RenameCase{"added",
                                 R"j({"add_prefix": "timm_model"})j",
                                 {"blocks.0.w", "timm_model.blocks.0.w"},
                                 {"timm_model.blocks.0.w", "timm_model.blocks.0.w"}},
                      RenameCase{"added within",
                                 R"j({"add_prefix": "language_model", "within": "model"})j",
                                 {"model.layers.0.w", "model.language_model.norm.w", "lm_head.w"},
                                 {"model.language_model.layers.0.w", "model.language_model.norm.w", "lm_head.w"}},
                      RenameCase{"a path of several segments is taken literally",
                                 R"j({"remove_prefix": "model", "within": "model.language_model"})j",
                                 {"model.language_model.model.w", "modelXlanguage_model.model.w"},
                                 {"model.language_model.w", "modelXlanguage_model.model.w"}}));

INSTANTIATE_TEST_SUITE_P(
    Scopes, Renaming,
    ::testing::Values(RenameCase{"only names below it, with or without the base model in front",
                                 R"j({"rename": "old", "to": "new", "scope": "vision"})j",
                                 {"vision.old.w", "model.vision.old.w", "text.old.w", "old.w", "x.vision.old.w"},
                                 {"vision.new.w", "model.vision.new.w", "text.old.w", "old.w", "x.vision.old.w"}},
                      RenameCase{"anchors hold behind it",
                                 R"j({"rename": "^layers", "to": "blocks", "scope": "vision"})j",
                                 {"vision.layers.0.w", "vision.x.layers.w", "layers.0.w"},
                                 {"vision.blocks.0.w", "vision.x.layers.w", "layers.0.w"}},
                      RenameCase{"it is not part of what is matched",
                                 R"j({"rename": "vision", "to": "v", "scope": "vision"})j",
                                 {"vision.vision.w", "vision.w"},
                                 {"vision.v.w", "vision.w"}},
                      RenameCase{"a longer module name is another module",
                                 R"j({"rename": "old", "to": "new", "scope": "vision"})j",
                                 {"vision2.old.w"},
                                 {"vision2.old.w"}}));

constexpr char const* kNorms =
    R"j({"rename_group": ["b\\.(\\d+)\\.norm0", "b\\.(\\d+)\\.norm1"], "to": ["b.\\1.norm1", "b.\\1.norm2"]})j";

INSTANTIATE_TEST_SUITE_P(Groups, Renaming,
                         ::testing::Values(RenameCase{"each source has its target",
                                                      kNorms,
                                                      {"b.0.norm0.w", "b.0.norm1.w"},
                                                      {"b.0.norm1.w", "b.0.norm2.w"}},
                                           RenameCase{"the guard may come later in the list of names",
                                                      kNorms,
                                                      {"b.0.norm1.w", "b.1.norm0.w"},
                                                      {"b.0.norm2.w", "b.1.norm1.w"}},
                                           RenameCase{"nothing moves unless the first source occurs",
                                                      kNorms,
                                                      {"b.0.norm1.w", "b.0.norm2.w"},
                                                      {"b.0.norm1.w", "b.0.norm2.w"}},
                                           RenameCase{"every group of the source can be used",
                                                      R"j({"rename_group": ["a(\\d)b(\\d)"], "to": ["\\2.\\1"]})j",
                                                      {"a1b2.w"},
                                                      {"2.1.w"}}));

INSTANTIATE_TEST_SUITE_P(
    Offsets, Renaming,
    ::testing::Values(
        RenameCase{"the number is shifted",
                   R"j({"rename_offset": "attn_queries\\.(\\d+)", "to": "layers.\\1.query", "offset": 1})j",
                   {"attn_queries.0", "attn_queries.11"},
                   {"layers.1.query", "layers.12.query"}},
        RenameCase{
            "also down", R"j({"rename_offset": "q\\.(\\d+)", "to": "l.\\1", "offset": -1})j", {"q.10"}, {"l.9"}}));

TEST(Renaming, AnIndexBelowZeroIsAnErrorThatNamesTheTensor) {
    try {
        renamed(R"j({"rename_offset": "q\\.(\\d+)", "to": "l.\\1", "offset": -1
    })j",
                {"q.0"});
        FAIL() << "accepted";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::input);
        EXPECT_THAT(error.what(), HasSubstr("renaming q.0"));
    }
}

constexpr char const* kMixtral = R"j(
    {"rename": ".block_sparse_moe.", "to": ".mlp."},
    {"convert": [".experts.*.w1.weight", ".experts.*.w3.weight"], "to": ".experts.gate_up_proj",
     "ops": [{"op": "MergeModulelist", "dim": 0}, {"op": "Concatenate", "dim": 1}]},
    {"convert": ".experts.*.w2.weight", "to": ".experts.down_proj", "ops": [{"op": "MergeModulelist", "dim": 0}]})j";

TEST(Converters, SeeNamesAfterEveryRenameAndKeepTheRestOfTheName) {
    auto const mapped = map_names(rules(kMixtral), {"model.layers.4.block_sparse_moe.experts.11.w3.weight"}, "model");
    ASSERT_TRUE(mapped.list.front().converter);
    auto const& hit = *mapped.list.front().converter;
    auto const& place = mapped.places[hit.place];
    EXPECT_EQ(place.transform, 1U);
    EXPECT_EQ(hit.source, 1U);
    EXPECT_EQ(hit.star, "11");
    EXPECT_EQ(output_name(place, ".experts.gate_up_proj"), "model.layers.4.mlp.experts.gate_up_proj");
}

TEST(Converters, RenamesBehindThemInTheListStillComeFirst) {
    auto const mapped = map_names(
        rules(R"j({"convert": "new", "to": "x", "ops": [{"op": "Transpose"}]}, {"rename": "old", "to": "new"})j"),
        {"old"}, "");
    ASSERT_TRUE(mapped.list.front().converter);
    EXPECT_EQ(output_name(mapped.places.front(), "x"), "x");
}

TEST(Converters, TheFirstThatMatchesTakesTheName) {
    auto const mapped = map_names(rules(R"j({"convert": "qkv", "to": "a", "ops": [{"op": "Transpose"}]},
                                           {"convert": "attn.qkv", "to": "b", "ops": [{"op": "Transpose"}]})j"),
                                  {"attn.qkv"}, "");
    EXPECT_EQ(mapped.places.front().transform, 0U);
}

TEST(Converters, OutputNamesHaveTheScopeAndTheGroup) {
    auto const mapped = map_names(rules(R"j({"convert": "^h\\.(\\d+)\\.qkv", "to": ["l.\\1.q", "l.\\1.k"], )j"
                                        R"j("ops": [{"op": "Chunk"}], "scope": "text"})j"),
                                  {"model.text.h.7.qkv.weight", "h.7.qkv.weight"}, "model");
    ASSERT_TRUE(mapped.list[0].converter);
    EXPECT_EQ(output_name(mapped.places.front(), "l.\\1.k"), "model.text.l.7.k.weight");
    EXPECT_FALSE(mapped.list[1].converter);
}

TEST(Converters, SharedExpertsAreNotExperts) {
    auto const mapped = map_names(
        rules(R"j({"convert": "mlp.experts.*.down_proj.weight", "to": "mlp.experts.down_proj", )j"
              R"j("ops": [{"op": "MergeModulelist"}]})j"),
        {"model.layers.0.mlp.shared_expert.down_proj.weight", "model.layers.0.mlp.down_proj.weight"}, "model");
    EXPECT_FALSE(mapped.list[0].converter);
    EXPECT_FALSE(mapped.list[1].converter);
}

/// Names after mapping where the model's own names are known.
std::vector<std::string> known(std::string const& transforms, std::vector<std::string> const& names,
                               NameSet const& model, std::string_view base = "model") {
    std::vector<std::string> result;
    auto const list = rules(transforms);
    auto const mapped = map_names(list, {names.begin(), names.end()}, base, model);
    for (auto const& [name, hit] : mapped.list) {
        if (hit) {
            auto const& place = mapped.places[hit->place];
            result.push_back(output_name(place, list[place.transform].targets.front()));
        } else {
            result.emplace_back(name);
        }
    }
    return result;
}

TEST(KnownNames, PutTheBaseModelsPathInFrontOrTakeItAway) {
    EXPECT_THAT(known("", {"layers.0.w", "model.norm.w"}, {"model.layers.0.w", "model.norm.w"}),
                ElementsAre("model.layers.0.w", "model.norm.w"));
    EXPECT_THAT(known("", {"model.layers.0.w"}, {"layers.0.w"}), ElementsAre("layers.0.w"));
    EXPECT_THAT(known("", {"modelxc.w"}, {"c.w"}), ElementsAre("modelxc.w")) << "the dot is a dot";
    EXPECT_THAT(known("", {"model.w"}, {"model.w", "w"}), ElementsAre("model.w")) << "a name of the model stays";
    EXPECT_THAT(known("", {"other.w"}, {"w"}), ElementsAre("other.w"));
    EXPECT_THAT(known("", {"w"}, {"model.w"}, ""), ElementsAre("w"));
}

TEST(KnownNames, PutTheBaseModelsPathInFrontOfWhatAConverterMakes) {
    constexpr char const* kRule = R"j({"convert": "qkv", "to": ["q", "k"], "ops": [{"op": "Chunk"}]})j";
    EXPECT_THAT(known(kRule, {"layers.0.qkv"}, {"model.layers.0.q"}), ElementsAre("model.layers.0.q"));
    EXPECT_THAT(known(kRule, {"model.layers.0.qkv"}, {"layers.0.q"}), ElementsAre("layers.0.q"));
    EXPECT_THAT(known(kRule, {"layers.0.qkv"}, {"model.layers.0.k"}), ElementsAre("model.layers.0.q"))
        << "one output that the model has is enough";
}

TEST(KnownNames, KeepATensorThatIsConvertedAlready) {
    constexpr char const* kRules = R"j({"rename": "encoder.layers", "to": "layers"},
                                       {"convert": "^w", "to": "v", "ops": [{"op": "Transpose"}]})j";
    EXPECT_THAT(known(kRules, {"encoder.layers.0.a", "w"}, {"encoder.layers.0.a", "w"}),
                ElementsAre("encoder.layers.0.a", "w"));
    EXPECT_THAT(known(kRules, {"encoder.layers.0.a"}, {"layers.0.a", "encoder.layers.0.a"}), ElementsAre("layers.0.a"))
        << "only where the rules lead elsewhere";
    EXPECT_THAT(known(kRules, {"encoder.layers.0.a", "layers.0.a"}, {"layers.0.a", "encoder.layers.0.a"}),
                ElementsAre("encoder.layers.0.a", "layers.0.a"))
        << "or to a name that is another's";
    EXPECT_THAT(known(kRules, {"encoder.layers.0.a"}, {"model.encoder.layers.0.a"}),
                ElementsAre("model.encoder.layers.0.a"));
    EXPECT_THAT(known(kRules, {"w"}, {"something"}), ElementsAre("v")) << "not the model's either way";
}

TEST(KnownNames, CountFromZeroWhereAConverterNumbersItsOutputs) {
    EXPECT_THAT(known(R"j({"convert": "all", "to": "e.*.w", "ops": [{"op": "SplitModulelist"}]})j", {"all"},
                      {"model.e.0.w"}),
                ElementsAre("model.e.*.w"));
}

}  // namespace
}  // namespace shardwise::test
