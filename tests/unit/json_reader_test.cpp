#include "util/json_reader.hpp"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

using testing::ElementsAre;
using testing::Pair;

nlohmann::json const& document() {
    static auto const kDocument = parse_json(
        R"({"plans": {"tp": {"dims": [1, "two"], "on": true}}, "count": -3, "ratio": 2.5, "huge": 18446744073709551615,
            "none": null, "names": {"a": "x", "b": "y"}})",
        "rules.json");
    return kDocument;
}

JsonReader reader() { return {document(), "rules.json"}; }

TEST(JsonReader, ValuesOfTheRightTypeAreRead) {
    EXPECT_EQ(reader()["count"].integer(), -3);
    EXPECT_TRUE(reader()["plans"]["tp"]["on"].boolean());
    EXPECT_THAT(reader()["names"].text_members(), ElementsAre(Pair("a", "x"), Pair("b", "y")));
    EXPECT_THAT(reader()["names"]["a"].texts(), ElementsAre("x")) << "one text stands for a list of one";
    EXPECT_FALSE(reader().find("absent"));
}

TEST(JsonReader, WrongTypesAreErrorsThatGiveThePath) {
    auto const dims = reader()["plans"]["tp"]["dims"];
    struct Case {
        std::optional<Error> error;
        char const* text;
    };
    for (auto const& test_case : std::initializer_list<Case>{
             {error_of([&] { dims.array()[1].integer(); }),
              "rules.json: plans.tp.dims[1]: expected a whole number, found string"},
             {error_of([&] { dims.texts(); }), "rules.json: plans.tp.dims[0]: expected a text, found number"},
             {error_of([] { reader()["ratio"].integer(); }), "rules.json: ratio: expected a whole number"},
             {error_of([] { reader()["none"].boolean(); }), "rules.json: none: expected true or false, found null"},
             {error_of([] { reader()["count"].array(); }), "rules.json: count: expected a list"},
             {error_of([] { reader()["count"].members(); }), "rules.json: count: expected an object"},
             {error_of([] { reader()["plans"]["ep"]; }), "rules.json: plans: the key 'ep' is missing"},
             // Would wrap to -1.
             {error_of([] { reader()["huge"].integer(); }), "rules.json: huge: expected a whole number"},
         }) {
        EXPECT_THAT(test_case.error, IsError(Errc::input, test_case.text));
    }
}

TEST(JsonReader, AnUnknownKeyIsAnErrorThatNamesTheNearestKnownOne) {
    auto const tp = reader()["plans"]["tp"];
    EXPECT_NO_THROW(tp.allow_only({"dims", "on"}));
    EXPECT_THAT(error_of([&] {
                    tp.allow_only({"dim", "on"});
                }),
                IsError(Errc::input, "rules.json: plans.tp: unknown key 'dims'; the nearest known one is 'dim'"));
    EXPECT_THAT(error_of([&] { tp.allow_only({"zzz", "on"}); }), IsError(Errc::input, "known are zzz, on"));
}

TEST(ParseJson, AKeyGivenTwiceInOneObjectIsAnError) {
    EXPECT_NO_THROW(parse_json(R"([{"a": {"a": 1}}, {"a": 2}])", "f.json")) << "the same key in different objects";
    EXPECT_THAT(error_of([] { parse_json(R"({"x": [{"base": 1, "b": [{}], "base": 2}]})", "f.json"); }),
                IsError(Errc::input, "f.json: the key 'base' is given twice"));
    EXPECT_THAT(error_of([] { parse_json(R"({"a": 1, "\u0061": 2})", "f.json"); }),
                IsError(Errc::input, "the key 'a' is given twice"));
}

TEST(ParseJson, WhatIsNoJsonIsAnErrorThatNamesTheFile) {
    for (auto const* text :
         {"", "1e999", "{", "{} x", "{'a': 1}", "[1,]", "\"\xFF\"", "nul", "{\"a\": 01}", "// comment\n{}"}) {
        EXPECT_THAT(error_of([&] { parse_json(text, "f.json"); }), IsError(Errc::input, "f.json: ")) << text;
    }
    // Deep nesting must not run the stack out.
    EXPECT_THAT(error_of([] { parse_json(std::string(1000000, '['), "f.json"); }), IsError(Errc::input, "f.json: "));
}

}  // namespace
}  // namespace shardwise::test
