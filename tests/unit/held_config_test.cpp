#include "mapping/held_config.hpp"

#include <gmock/gmock.h>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

TEST(HeldConfig, TextThatNeedsNoChangeStaysAsItIs) {
    std::string const odd = "{ \"dtype\":\"bfloat16\" ,\"x\": 1e-5}";
    EXPECT_EQ(held_config(odd, {}), odd);
    EXPECT_EQ(held_config(odd, {DType::bf16, true}), odd);
    EXPECT_EQ(held_config("", {DType::f32, true}), "");
}

TEST(HeldConfig, TheTypeStandsWhereverOneStoodAndOtherwiseOnTop) {
    EXPECT_EQ(held_config(R"({"torch_dtype":"float16","a_config":{"dtype":null,"b_config":{"torch_dtype":"x"}}})",
                          {DType::bf16, false}),
              "{\n  \"torch_dtype\": \"bfloat16\",\n  \"a_config\": {\n    \"dtype\": \"bfloat16\",\n"
              "    \"b_config\": {\n      \"torch_dtype\": \"bfloat16\"\n    }\n  }\n}\n");
    EXPECT_EQ(held_config(R"({"z":1,"a":2})", {DType::f8_e5m2, false}),
              "{\n  \"z\": 1,\n  \"a\": 2,\n  \"dtype\": \"float8_e5m2\"\n}\n");
}

TEST(HeldConfig, QuantizationGoesWithTheCodesOnly) {
    std::string const json = R"({"quantization_config":{"dtype":"fp8"},"text_config":{"quantization_config":{}}})";
    EXPECT_EQ(held_config(json, {std::nullopt, true}), "{\n  \"text_config\": {}\n}\n");
    EXPECT_EQ(held_config(json, {DType::f16, false}),
              "{\n  \"quantization_config\": {\n    \"dtype\": \"fp8\"\n  },\n  \"text_config\": {\n"
              "    \"quantization_config\": {}\n  },\n  \"dtype\": \"float16\"\n}\n");
}

TEST(HeldConfig, RefusesWhatIsNoObject) {
    EXPECT_THAT(error_of([] { held_config("[1]", {DType::f16, false}); }), IsError(Errc::input, "config.json"));
}

}  // namespace
}  // namespace shardwise::test
