// What a model is expected to have: from files and from patterns over config.json.
#include "mapping/expectation.hpp"


#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::int64_t size_of(std::string const& expression) {
    if (expression == "layers") { return 3; }
    if (expression == "dense") { return 1; }
    if (expression == "layers - 1") { return 2; }
    if (expression == "hidden") { return 8; }
    if (expression == "none") { return 0; }
    throw Error(Errc::input, "no size " + expression);
}

TEST(PatternNames, ACountRunsFromZero) {
    EXPECT_THAT(names_of_pattern("l.{layers}.w", size_of), ElementsAre("l.0.w", "l.1.w", "l.2.w"));
    EXPECT_THAT(names_of_pattern("l.{none}.w", size_of), IsEmpty());
    EXPECT_THAT(names_of_pattern("norm", size_of), ElementsAre("norm"));
}

TEST(PatternNames, ARangeHasBothEnds) {
    EXPECT_THAT(names_of_pattern("l.{dense...layers - 1}.e.{dense}.w", size_of), ElementsAre("l.1.e.0.w", "l.2.e.0.w"));
}

TEST(PatternNames, BracesMustPair) {
    for (auto const* wrong : {"l.{layers", "l.layers}", "l.}layers{"}) {
        EXPECT_THROW(names_of_pattern(wrong, size_of), Error) << wrong;
    }
}

/// Sizes of which "layer" is the layer's own.
SizeLookup sizes_of(std::optional<std::int64_t> layer) {
    return [layer](std::string const& expression) {
        if (layer && expression == "layer != 1") { return std::int64_t{*layer != 1}; }
        return size_of(expression);
    };
}

TEST(Expectation, OfPatternsHasShapesThatConfigStates) {
    auto const expected = expectation_of(
        {{"l.{layers}.w", {{"hidden", "hidden"}}, DType::bf16, false, {}}, {"bias", {{"unknown"}}, {}, true, {}}},
        sizes_of);
    ASSERT_EQ(expected.size(), 4U);
    EXPECT_EQ(expected.at("l.2.w").shape, (Shape{8, 8}));
    EXPECT_EQ(expected.at("l.2.w").dtype, DType::bf16);
    EXPECT_FALSE(expected.at("bias").shape);
    EXPECT_TRUE(expected.at("bias").is_optional);
}

TEST(Expectation, NamesThatConfigDoesNotStateAreRefused) {
    EXPECT_THROW(expectation_of({{"x.{unknown}", {}, {}, false, {}}}, sizes_of), Error);
    EXPECT_THROW(expectation_of({{"x", {}, {}, false, "unknown"}}, sizes_of), Error);
    EXPECT_THROW(expectation_of({{"x", {}, {}, false, "layer != 1"}}, sizes_of), Error) << "lies in no layer";
}

TEST(Expectation, OfPatternsHasNamesWhoseConditionHolds) {
    auto const expected = expectation_of({{"l.{layers}.{dense...layers - 1}.w", {}, {}, false, "layer != 1"},
                                          {"never", {}, {}, false, "none"},
                                          {"always", {}, {}, false, "layers"}},
                                         sizes_of);
    std::vector<std::string> names;
    for (auto const& [name, parameter] : expected) { names.push_back(name); }
    EXPECT_THAT(names, ElementsAre("always", "l.0.1.w", "l.0.2.w", "l.2.1.w", "l.2.2.w"));
}

class ExpectationFile : public ::testing::Test {
   protected:
    Expectation read(std::string const& name, std::string const& text) {
        auto const path = folder_.write(name, text);
        return read_expectation(path);
    }

    std::string refusal(std::string const& text) {
        try {
            read("expect.json", text);
        } catch (Error const& error) { return error.what(); }
        return "accepted";
    }

    ScratchFolder folder_;
};

TEST_F(ExpectationFile, JsonNeedsNoTypesOrShapes) {
    auto const expected =
        read("expect.json", R"({"a": {"dtype": "BF16", "shape": [2, 3]}, "b": {}, "__metadata__": {"format": "pt"}})");
    ASSERT_EQ(expected.size(), 2U);
    EXPECT_EQ(expected.at("a").dtype, DType::bf16);
    EXPECT_EQ(expected.at("a").shape, (Shape{2, 3}));
    EXPECT_FALSE(expected.at("b").dtype || expected.at("b").shape);
}

TEST_F(ExpectationFile, OfSafetensorsOnlyTheHeaderCounts) {
    std::string const header = R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})";
    std::string file(8, '\0');
    file[0] = static_cast<char>(header.size());
    auto const expected = read("m.safetensors", file + header + "abcd");
    ASSERT_EQ(expected.size(), 1U);
    EXPECT_EQ(expected.at("a").dtype, DType::f16);
    EXPECT_EQ(expected.at("a").shape, (Shape{2}));
}

TEST_F(ExpectationFile, RefusalsNameTheEntry) {
    EXPECT_THAT(refusal(R"({"a": {"dtype": "BF17"}})"), HasSubstr("expect.json: a.dtype: unknown dtype"));
    EXPECT_THAT(refusal(R"({"a": {"shape": [-1]}})"), HasSubstr("a negative extent"));
    EXPECT_THAT(refusal(R"({"a": {"shapes": []}})"), HasSubstr("shapes"));
    EXPECT_THAT(refusal(R"(["a"])"), HasSubstr("expect.json"));
}

}  // namespace
}  // namespace shardwise::test
