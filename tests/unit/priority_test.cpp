#include "plan/priority.hpp"

#include <gmock/gmock.h>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

std::vector<std::string> const kClasses = {"@embedding", "@lm_head", "@attention", "@first-layers=2", "*.norm.*"};

TEST(Priority, PresetsKnowTheNamesOfModels) {
    PriorityClasses const classes(kClasses);
    for (auto const& [name, expected] : std::vector<std::pair<std::string, std::uint32_t>>{
             {"model.embed_tokens.weight", 0},
             {"transformer.wte.weight", 0},
             {"transformer.wpe.weight", 0},
             {"bert.embeddings.word_embeddings.weight", 0},
             {"transformer.Embed.weight", 0},
             {"lm_head.weight", 1},
             {"model.layers.30.self_attn.q_proj.weight", 2},
             {"model.layers.30.Self_Attention.query.weight", 2},
             {"transformer.h.11.attn.c_attn.bias", 2},
             {"model.layers.0.mlp.up_proj.weight", 3},
             {"model.layers.1.mlp.experts.7.up_proj.weight", 3},
             {"model.layers.2.mlp.experts.0.up_proj.weight", 5},
             {"model.layers.12.mlp.up_proj.weight", 5},
             {"model.norm.weight", 4},
             {"model.rotary.weight", 5},
         }) {
        EXPECT_EQ(classes.class_of(name), expected) << name;
    }
    EXPECT_EQ(PriorityClasses({}).class_of("anything"), 0U);
}

TEST(Priority, FirstLayersAreFourUnlessSaid) {
    PriorityClasses const classes(std::vector<std::string>{"@first-layers"});
    EXPECT_EQ(classes.class_of("model.layers.3.mlp.weight"), 0U);
    EXPECT_EQ(classes.class_of("model.layers.4.mlp.weight"), 1U);
}

TEST(Priority, WrongPresetsAreRefused) {
    auto const refusal = [](std::string const& pattern) {
        return error_of([&] { PriorityClasses(std::vector<std::string>{pattern}); });
    };
    EXPECT_THAT(refusal("@embeding"), IsError(Errc::usage, "did you mean @embedding?"));
    EXPECT_THAT(refusal("@x"), IsError(Errc::usage, "there are @first-layers, @embedding"));
    EXPECT_THAT(refusal("@first-layers=0"), IsError(Errc::usage, "from 1 up"));
    EXPECT_THAT(refusal("@first-layers=2x"), IsError(Errc::usage, "--priority @first-layers=2x"));
}

}  // namespace
}  // namespace shardwise::test
