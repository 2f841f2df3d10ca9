// Checkpoints of known architectures loaded through their rules, and the check that ranks hold what the checkpoint
// says.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <shardwise/verify.hpp>

#include "support/loaded.hpp"

namespace shardwise::test {
namespace {

using ::testing::HasSubstr;

void verify(Loaded const& loaded, Context& context) {
    verify_load(loaded.store, loaded.plan, *loaded.catalog, *loaded.architecture, loaded.options, context);
}

TEST(VerifyLoad, AcceptsEveryModelAsItWasLoaded) {
    auto context = Context(make_world());
    for (auto const& [name, make] : kModels) {
        for (auto const& mesh : meshes(context.size())) {
            SCOPED_TRACE(fmt::format("{}, {}", name, to_string(mesh)));
            Loaded const loaded(context, make, options_for(mesh));
            EXPECT_EQ(loaded.plan.architecture, name);
            EXPECT_EQ(difference(loaded.store, loaded.plan, loaded.model), "");
            EXPECT_NO_THROW(verify(loaded, context));
        }
    }
}

TEST(VerifyLoad, AcceptsUnevenExpertsOfWhichSomeRanksHoldNone) {
    auto context = Context(make_world());
    auto all = meshes(context.size());
    all.push_back({.fsdp = context.size(), .ep = context.size()});
    for (auto const& mesh : all) {
        SCOPED_TRACE(to_string(mesh));
        auto options = options_for(mesh);
        options.plan = "ep";
        Loaded const loaded(context, small_mixtral_by_experts, options);
        EXPECT_EQ(difference(loaded.store, loaded.plan, loaded.model), "");
        EXPECT_NO_THROW(verify(loaded, context));
    }
}

TEST(VerifyLoad, NamesATensorOfTheLastStageThatDiffers) {
    auto context = Context(make_world());
    if (context.size() % 2 != 0) { return; }
    Loaded const loaded(context, small_llama, options_for({.pp = 2, .fsdp = context.size() / 2}));
    bool const is_last = context.rank() == context.size() - 1;
    auto const victim = loaded.store.find("model.layers.1.mlp.down_proj.weight");
    EXPECT_EQ(victim.has_value(), context.rank() >= context.size() / 2) << "only the second stage holds layer 1";
    if (is_last) { victim->bytes.back() ^= std::byte{1}; }
    try {
        verify(loaded, context);
        ADD_FAILURE() << "a changed byte was not noticed";
    } catch (Error const& error) { EXPECT_THAT(error.what(), HasSubstr("model.layers.1.mlp.down_proj.weight")); }
}

TEST(VerifyLoad, AcceptsKeyValueHeadsThatSeveralRanksHold) {
    auto context = Context(make_world());
    if (8 % context.size() != 0) { return; }  // 4 heads go into 1, 2, 4 and 8 ranks
    auto options = options_for({.tp = context.size()});
    options.replicate_kv_heads = true;
    Loaded const loaded(context, small_llama, options);
    EXPECT_NO_THROW(verify(loaded, context));
}

TEST(VerifyLoad, NamesTheTensorInWhichOneByteOfOneRankDiffers) {
    auto context = Context(make_world());
    for (auto const& [name, make] : kModels) {
        Loaded const loaded(context, make, options_for({.tp = context.size()}));
        for (auto const failing : {0, context.size() - 1}) {
            auto const victim = *loaded.store.find("model.layers.0.self_attn.o_proj.weight");
            auto& byte = victim.bytes[victim.bytes.size() / 2];
            if (context.rank() == failing) { byte ^= std::byte{0x10}; }
            try {
                verify(loaded, context);
                ADD_FAILURE() << name << ": a changed byte was not noticed";
            } catch (Error const& error) {
                EXPECT_EQ(error.code(), Errc::io);
                EXPECT_THAT(error.what(), HasSubstr("model.layers.0.self_attn.o_proj.weight"));
            }
            if (context.rank() == failing) { byte ^= std::byte{0x10}; }
        }
        EXPECT_NO_THROW(verify(loaded, context));
    }
}

TEST(VerifyLoad, SeesElementsOfARankThatChangedPlaces) {
    auto context = Context(make_world());
    Loaded const loaded(context, small_mixtral, options_for({.tp = context.size()}));
    auto const victim = *loaded.store.find("model.layers.0.mlp.experts.down_proj");
    if (context.rank() == 0) {
        std::swap_ranges(victim.bytes.begin(), victim.bytes.begin() + 2, victim.bytes.end() - 2);
    }
    EXPECT_THROW(verify(loaded, context), Error);
}

}  // namespace
}  // namespace shardwise::test
