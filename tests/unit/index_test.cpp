#include <gmock/gmock.h>

#include "catalog/weight_map.hpp"
#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

using testing::ElementsAre;

TEST(Index, GroupsTensorsByFileInNaturalOrder) {
    auto const index =
        parse_index(R"({"metadata":{"total_size":7,"more":[{"weight_map":{"q":"m-1.safetensors"}}]},"weight_map":)"
                    R"({"x":"m-10.safetensors","z":"m-2.safetensors","y" :"m-10.safetensors" , )"
                    R"("w":"m\u002d2.safetensors"},"last":null})");
    EXPECT_THAT(index.files, ElementsAre("m-2.safetensors", "m-10.safetensors"));
    EXPECT_THAT(index.tensors, ElementsAre(ElementsAre("z", "w"), ElementsAre("x", "y")));
}

TEST(Index, NamesMayHaveEscapes) {
    auto const index = parse_index(R"({"weight\u005fmap":{"\u0077":"a","x\\":"a","\"y\"":"a","\u00e9":"a","z":"a"}})");
    EXPECT_THAT(index.tensors, ElementsAre(ElementsAre("w", "x\\", "\"y\"", "\u00e9", "z")));
}

TEST(Index, MalformedOnesAreRefused) {
    struct Case {
        char const* json;
        char const* message;
    };
    for (auto const& [json, message] : std::initializer_list<Case>{
             {"", "not a JSON object"},
             {"[]", "not a JSON object"},
             {"{\"weight_map\":", "not a JSON object"},
             {"{}", "no object 'weight_map'"},
             {R"({"weight_map":["a.safetensors"]})", "no object 'weight_map'"},
             {R"({"weight_map":{}})", "weight_map is empty"},
             {R"({"weight_map":{"w":1}})", "weight_map: 'w' has no file name"},
             {R"({"weight_map":{"w":null}})", "weight_map: 'w' has no file name"},
             {R"({"weight_map":{"w":"a.safetensors"})", "not a JSON object"},
             {R"({"weight_map":{"w":"a.safetensors")", "not a JSON object"},
             {R"({"weight_map":{"w":"a.safetensors",}})", "not a JSON object"},
             {R"({"weight_map":{"w" "a.safetensors"}})", "not a JSON object"},
             {R"({"weight_map":{"w\x":"a.safetensors"}})", "not a JSON object"},
             {R"({"weight_map":{"w":"a.safetensors"}} {})", "not a JSON object: something follows it"},
             {R"({"weight_map":{"w":"a"},"weight_map":{"v":"a"}})", "'weight_map' is given twice"},
         }) {
        EXPECT_THAT(error_of([&, text = json] { parse_index(text); }), IsError(Errc::input, message)) << json;
    }
}

TEST(Index, ControlCharactersInNamesAreRefused) {
    for (auto const c : {'\0', '\n', '\x1F'}) {
        auto const json = R"({"weight_map":{"w)" + std::string(1, c) + R"(x":"a.safetensors"}})";
        EXPECT_THAT(error_of([&] { parse_index(json); }), IsError(Errc::input, "not a JSON object")) << int{c};
    }
}

// A downloaded index must not make a job read files elsewhere.
TEST(Index, NamesThatLeaveTheFolderAreRefused) {
    for (auto const* name :
         {"", ".", "..", "/etc/passwd", "../m.safetensors", "a/m.safetensors", "./m.safetensors", "m/", "m\\u0000x"}) {
        auto const json = R"({"weight_map":{"w":")" + std::string(name) + R"("}})";
        EXPECT_THAT(error_of([&] { parse_index(json); }), IsError(Errc::input, "is not a plain file name")) << name;
    }
}

}  // namespace
}  // namespace shardwise::test
