// Which pipeline stages hold a parameter, and what mapping makes of it.
#include "mapping/pipeline.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "mapping/architecture_data.hpp"
#include "support/error_of.hpp"
#include "support/model.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Stages = std::vector<std::int64_t>;

std::vector<std::string> layers(int count, std::string const& path = "model.layers") {
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) { names.push_back(fmt::format("{}.{}.q.weight", path, i)); }
    return names;
}

/// The stage of each layer.
Stages stages_of_layers(int count, std::int64_t stages, std::optional<std::int64_t> stated = std::nullopt) {
    PipelineRules const rules;
    auto const names = layers(count);
    Pipeline const pipeline(rules, "model", stages, stated, names);
    Stages result;
    for (auto const& name : names) {
        auto const held = pipeline.stages_of(name, {});
        EXPECT_EQ(held.size(), 1U) << name;
        result.push_back(held.empty() ? -1 : held.front());
    }
    return result;
}

TEST(Pipeline, LayersGoEvenlyAndTheLastStageTakesTheRemainder) {
    EXPECT_THAT(stages_of_layers(4, 2), ElementsAre(0, 0, 1, 1));
    EXPECT_THAT(stages_of_layers(5, 2), ElementsAre(0, 0, 1, 1, 1));
    EXPECT_THAT(stages_of_layers(8, 3), ElementsAre(0, 0, 1, 1, 2, 2, 2, 2));
    EXPECT_THAT(stages_of_layers(2, 3), ElementsAre(2, 2));
}

TEST(Pipeline, TheConfigurationSaysHowManyLayersThereAre) {
    EXPECT_THAT(stages_of_layers(2, 2, 4), ElementsAre(0, 0)) << "of four, two are in this checkpoint";
    EXPECT_THAT(stages_of_layers(5, 2, 4), ElementsAre(0, 0, 1, 1, 1)) << "a draft layer after the others";
}

Stages stages_of(std::string const& name, std::int64_t stages = 3, std::vector<std::string> const& aliases = {}) {
    PipelineRules const rules;
    auto const names = layers(6);
    return Pipeline(rules, "model", stages, std::nullopt, names).stages_of(name, aliases);
}

TEST(Pipeline, EmbeddingComesFirstNormAndHeadLastAndTheRestIsEverywhere) {
    EXPECT_THAT(stages_of("model.embed_tokens.weight"), ElementsAre(0));
    EXPECT_THAT(stages_of("model.norm.weight"), ElementsAre(2));
    EXPECT_THAT(stages_of("lm_head.weight"), ElementsAre(2));
    EXPECT_THAT(stages_of("model.layers.5.norm.weight"), ElementsAre(2));
    EXPECT_THAT(stages_of("model.layers.1.embed_tokens.weight"), ElementsAre(0));
    EXPECT_THAT(stages_of("model.language_model.layers.2.q.weight"), ElementsAre(1));
    EXPECT_THAT(stages_of("model.language_model.norm.weight"), ElementsAre(2));
    // A checkpoint of the base model alone.
    EXPECT_THAT(stages_of("layers.3.q.weight"), ElementsAre(1));
    for (auto const* name : {"model.vision_tower.layers.3.q.weight", "model.normal.weight", "model.layers.x.weight",
                             "model.layers.3", "visual.norm.weight", "model.rotary.inv_freq"}) {
        EXPECT_THAT(stages_of(name), IsEmpty()) << name;
    }
}

TEST(Pipeline, TiedParametersAreWhereverOneOfTheirNamesIsWanted) {
    EXPECT_THAT(stages_of("model.embed_tokens.weight", 3, {"lm_head.weight"}), ElementsAre(0, 2));
    EXPECT_THAT(stages_of("lm_head.weight", 3, {"model.embed_tokens.weight"}), ElementsAre(0, 2));
    EXPECT_THAT(stages_of("model.embed_tokens.weight", 2, {"lm_head.weight"}), IsEmpty()) << "all stages";
    EXPECT_THAT(stages_of("model.embed_tokens.weight", 3, {"model.shared.weight"}), IsEmpty());
}

TEST(Pipeline, OneStageHoldsEverything) {
    EXPECT_THAT(stages_of("model.layers.1.q.weight", 1), IsEmpty());
}

constexpr char const* kOwnPipeline = R"("pipeline": {"layers": "blocks", "first": "wte", "last": ["ln_f", "lm_head"]})";
constexpr char const* kTied = R"("tied": {"lm_head.weight": "model.embed_tokens.weight"})";

std::map<std::string, Stages> mapped_stages(std::vector<std::string> const& names, std::string const& more,
                                            std::string const& config = "{}") {
    std::vector<std::pair<std::string, Shape>> tensors;
    for (auto const& name : names) { tensors.emplace_back(name, Shape{4, 2}); }
    Model const model(stored_tensors(tensors), architecture_of("", "", more), {.mesh = {.pp = 4}}, config);
    std::map<std::string, Stages> result;
    for (auto const& name : model.names()) { result.emplace(name, model[name].placement.stages); }
    return result;
}

TEST(Pipeline, AnArchitectureNamesItsOwnListsOfLayers) {
    auto const stages = mapped_stages(
        {"model.blocks.0.w", "model.blocks.3.w", "model.wte.w", "model.ln_f.w", "lm_head.w", "model.layers.0.w"},
        kOwnPipeline);
    EXPECT_EQ(stages, (std::map<std::string, Stages>{{"model.blocks.0.w", {0}},
                                                     {"model.blocks.3.w", {3}},
                                                     {"model.wte.w", {0}},
                                                     {"model.ln_f.w", {3}},
                                                     {"lm_head.w", {3}},
                                                     {"model.layers.0.w", {}}}));
}

TEST(Pipeline, ATiedEmbeddingIsOnTheLastStageTooUnlessTheHeadIsStored) {
    auto const layer = std::string("model.layers.0.w");
    EXPECT_THAT(mapped_stages({"model.embed_tokens.weight", layer}, kTied).at("model.embed_tokens.weight"),
                ElementsAre(0, 3));
    EXPECT_THAT(
        mapped_stages({"model.embed_tokens.weight", "lm_head.weight", layer}, kTied).at("model.embed_tokens.weight"),
        ElementsAre(0));
    EXPECT_THAT(mapped_stages({"model.embed_tokens.weight", layer}, kTied, R"({"tie_word_embeddings": false})")
                    .at("model.embed_tokens.weight"),
                ElementsAre(0));
}

TEST(Pipeline, TheNumberOfLayersComesFromTheTextModelsConfiguration) {
    auto const stages =
        mapped_stages({"model.layers.0.w", "model.layers.5.w"}, "", R"({"text_config": {"num_hidden_layers": 12}})");
    EXPECT_THAT(stages.at("model.layers.5.w"), ElementsAre(1));
}

TEST(Pipeline, LayersThatCannotBeDealtAreWarnedOf) {
    auto const warnings = [](std::vector<std::pair<std::string, Shape>> const& tensors) {
        return Model(stored_tensors(tensors), architecture_of(""), {.mesh = {.pp = 3}}).warnings();
    };
    EXPECT_THAT(warnings({{"model.layers.2.w", {2}}}), IsEmpty());
    EXPECT_THAT(warnings({{"model.layers.1.w", {2}}}), ElementsAre(HasSubstr("--pp 3: 2 layers")));
    EXPECT_THAT(warnings({{"model.h.1.w", {2}}}), ElementsAre(HasSubstr("--pp 3: no parameter lies in layers")));
}

TEST(Pipeline, AnUnknownKeyIsRefused) {
    EXPECT_THAT(error_of([] { architecture_of("", "", R"("pipeline": {"layer": "h"})"); }),
                IsError(Errc::input, "pipeline"));
}

}  // namespace
}  // namespace shardwise::test
