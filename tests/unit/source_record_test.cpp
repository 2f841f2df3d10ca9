// What the manifest keeps of a checkpoint, there and back.
#include "sink/source_record.hpp"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr char const* kRules =
    R"({"family": "mine", "model_types": ["mine"], "plans": {"tp": {"base": {"b": "colwise"}}}})";

Catalog two_files() {
    Catalog::Parts parts;
    parts.config_json = R"({"model_type": "mine", "note": "\"quoted\" ü"})";
    parts.index_name = "m.safetensors.index.json";
    parts.files = {{"/far/away/m-1.safetensors", 100, 40, {{"format", "pt"}, {"b", "c"}}},
                   {"/far/away/m-2.safetensors", 60, 20, {}}};
    parts.tensors = {{"b", DType::bf16, {4, 5}, 0, 60, 40},
                     {"a", DType::f32, {5}, 0, 40, 20},
                     {"empty", DType::f32, {0, 3}, 0, 60, 0},
                     {"packed", DType::f4, {80}, 1, 20, 40}};
    return Catalog(std::move(parts));
}

SourceRecord recorded() {
    PlanOptions options;
    options.plan = "tp";
    options.replicate_kv_heads = true;
    options.mesh.tp = 2;
    options.include = {"b*", "a"};
    options.exclude = {"x"};
    options.expected = {{"a", {DType::f32, Shape{5}}}, {"b", {}}};
    return record_source(two_files(), Architecture::parse(kRules, "/some/where/mine.json"), options);
}

SourceRecord read_text(std::string const& text) {
    auto const document = nlohmann::json::parse(text);
    return read_source(JsonReader(document, "manifest"));
}

TEST(SourceRecord, KeepsNamesShapesOrderRulesAndChoices) {
    auto const back = read_text(source_json(recorded()));
    EXPECT_EQ(back.catalog.config_json(), two_files().config_json());
    EXPECT_EQ(back.catalog.index_name(), "m.safetensors.index.json");
    ASSERT_EQ(back.catalog.files().size(), 2U);
    EXPECT_EQ(back.catalog.files()[0].path, "m-1.safetensors");
    EXPECT_THAT(back.catalog.files()[0].metadata, ElementsAre(Pair("b", "c"), Pair("format", "pt")));
    EXPECT_THAT(back.catalog.tensors(), ElementsAre(TensorRecord{"a", DType::f32, {5}, 0, 0, 20},
                                                    TensorRecord{"b", DType::bf16, {4, 5}, 0, 20, 40},
                                                    TensorRecord{"empty", DType::f32, {0, 3}, 0, 20, 0},
                                                    TensorRecord{"packed", DType::f4, {80}, 1, 0, 40}));
    EXPECT_EQ(nlohmann::json::parse(back.architecture).at("/file/text"_json_pointer), kRules);
    EXPECT_EQ(nlohmann::json::parse(back.architecture).at("/file/name"_json_pointer), "mine.json");
    EXPECT_EQ(back.options.expected.at("a").shape, (Shape{5}));
    EXPECT_EQ(back.options.expected.size(), 2U);
    EXPECT_EQ(back.options.plan, "tp");
    EXPECT_TRUE(back.options.replicate_kv_heads);
    EXPECT_THAT(back.options.include, ElementsAre("b*", "a"));
    EXPECT_THAT(back.options.exclude, ElementsAre("x"));
    EXPECT_EQ(back.parameters_digest, recorded().parameters_digest);
}

TEST(SourceRecord, TheRulesOfEveryKnownArchitectureAreKeptWhole) {
    for (auto const& type : Architecture::known_model_types()) {
        Catalog::Parts parts;
        parts.files = {{"m", 4, 0, {}}};
        parts.tensors = {{"w", DType::f32, {}, 0, 0, 4}};
        auto const architecture = Architecture::load(type);
        auto const source = record_source(Catalog(std::move(parts)), architecture, {});
        auto const again = Architecture::restore(source.architecture, "again");
        EXPECT_EQ(again.plans(), architecture.plans()) << type;
        auto const digest = record_source(source.catalog, again, {}).parameters_digest;
        EXPECT_EQ(digest, source.parameters_digest) << type;
    }
}

TEST(SourceRecord, OtherRulesGiveAnotherDigest) {
    auto const digest_of_rules = [](std::string const& rules) {
        auto const architecture = Architecture::parse(rules, "mine.json");
        return record_source(two_files(), architecture, {.mesh = {.tp = 2}}).parameters_digest;
    };
    std::string const cut_rows =
        R"({"family": "mine", "model_types": [], "plans": {"tp": {"base": {"b": "rowwise"}}}})";
    std::string const renamed = R"({"family": "mine", "model_types": [], "transforms": [{"rename": "^b$", "to": "c"}],)"
                                R"("plans": {"tp": {"base": {"b": "colwise"}}}})";
    EXPECT_EQ(digest_of_rules(kRules), digest_of_rules(kRules));
    EXPECT_NE(digest_of_rules(kRules), digest_of_rules(cut_rows));
    EXPECT_NE(digest_of_rules(kRules), digest_of_rules(renamed));
}

TEST(SourceRecord, WhatDoesNotFitTogetherIsRefusedByKey) {
    struct Case {
        char const* pointer;
        nlohmann::json value;
        char const* message;
    };
    for (auto const& [pointer, value, message] : std::initializer_list<Case>{
             {"/index", "../index.json", "index: expected a plain file name"},
             {"/kv_heads", "both", "kv_heads: expected cut or replicate"},
             {"/files/0/name", "..", "files[0].name: expected a plain file name"},
             {"/files/0/name", "/etc/passwd", "files[0].name: expected a plain file name"},
             {"/files/0/tensors/0", {"a", "F32"}, "files[0].tensors[0]: expected name, dtype and shape"},
             {"/files/0/tensors/0/1", "F33", "files[0].tensors[0][1]: unknown dtype"},
             {"/files/0/tensors/0/2", {-1}, "files[0].tensors[0][2][0]: expected a whole number"},
             {"/files/0/tensors/0/2", {1LL << 40, 1LL << 40}, "files[0].tensors[0][2]: shape"},
             {"/files/1/tensors/0/0", "a", "files: a stands there twice"},
             {"/architecture", 3, "architecture: expected a text"},
             {"/expected", "[]", "expected: "},
         }) {
        auto document = nlohmann::json::parse(source_json(recorded()));
        document[nlohmann::json::json_pointer(pointer)] = value;
        EXPECT_THAT(error_of([&, d = document] { read_text(d.dump()); }), IsError(Errc::input, message)) << pointer;
    }
}

}  // namespace
}  // namespace shardwise::test
