#include <gmock/gmock.h>

#include "catalog/file_set.hpp"
#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(Index, GroupsTensorsByFileInNaturalOrder) {
    auto const files = parse_index(
        R"({"metadata":{"total_size":7},"weight_map":{"x":"m-10.safetensors",)"
        R"("z":"m-2.safetensors","y":"m-10.safetensors"}})");
    EXPECT_THAT(
        files, ElementsAre(Pair("m-2.safetensors", ElementsAre("z")), Pair("m-10.safetensors", ElementsAre("x", "y"))));
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
             {R"({"weight_map":{"w":"a.safetensors","w":"b.safetensors"}})", "weight_map names the tensor w twice"},
             {R"({"weight_map":{"w":"a.safetensors","\u0077":"a.safetensors"}})",
              "weight_map names the tensor w twice"},
         }) {
        EXPECT_THAT(error_of([&, text = json] { parse_index(text); }), IsError(Errc::input, message)) << json;
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
