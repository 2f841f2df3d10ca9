// In which type stored tensors are taken, and which of them belong together.
#include "mapping/leaves.hpp"

#include <gmock/gmock.h>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

Catalog catalog_of(std::vector<std::tuple<std::string, DType, Shape>> const& tensors) {
    Catalog::Parts parts;
    for (auto const& [name, dtype, shape] : tensors) {
        TensorRecord record;
        record.name = name;
        record.dtype = dtype;
        record.shape = shape;
        parts.tensors.push_back(record);
    }
    return Catalog(std::move(parts));
}

/// A catalog and its leaves.
struct Taken {
    Taken(std::vector<std::tuple<std::string, DType, Shape>> const& tensors, std::optional<DType> wanted,
          QuantizedOptions const& options = {}, KeepInFp32 const& keep_in_fp32 = {})
        : catalog(catalog_of(tensors)), keep(keep_in_fp32), leaves(catalog, keep, wanted, options) {}

    std::uint32_t index(std::string const& name) const { return *catalog.find(name); }
    Expression leaf(std::string const& name) const { return leaves.leaf(index(name), name); }
    DType dtype(std::string const& name) const { return leaf(name).dtype; }
    bool is_taken_in(std::string const& name) const { return leaves.is_taken_in(index(name)); }

    Catalog catalog;
    KeepInFp32 keep;
    Leaves leaves;
};

TEST(Leaves, OnlyPlainFloatsGetAnotherType) {
    Taken const taken({{"a.f64", DType::f64, {2}},
                       {"a.f32", DType::f32, {2}},
                       {"a.f16", DType::f16, {2}},
                       {"a.bf16", DType::bf16, {2}},
                       {"a.i64", DType::i64, {2}},
                       {"a.f8", DType::f8_e4m3, {2}},
                       {"a.bool", DType::boolean, {2}},
                       {"a.c64", DType::c64, {2}}},
                      DType::f16);
    for (auto const* const name : {"a.f64", "a.f32", "a.f16", "a.bf16"}) { EXPECT_EQ(taken.dtype(name), DType::f16); }
    EXPECT_EQ(taken.dtype("a.i64"), DType::i64);
    EXPECT_EQ(taken.dtype("a.f8"), DType::f8_e4m3);
    EXPECT_EQ(taken.dtype("a.bool"), DType::boolean);
    EXPECT_EQ(taken.dtype("a.c64"), DType::c64);
    EXPECT_EQ(taken.leaf("a.f16").kind, Expression::Kind::source) << "has the type already";
}

TEST(Leaves, ScalesOfQuantizedModulesStayOthersDoNot) {
    Taken const taken({{"q.weight", DType::f8_e4m3, {4, 4}},
                       {"q.weight_scale_inv", DType::f32, {2, 2}},
                       {"norm.scale", DType::f32, {4}}},
                      DType::bf16);
    EXPECT_EQ(taken.dtype("q.weight_scale_inv"), DType::f32);
    EXPECT_EQ(taken.dtype("norm.scale"), DType::bf16);
}

TEST(Leaves, WhatIsKeptIn32BitsDependsOnTheTypeAskedFor) {
    KeepInFp32 const keep = {{"wo", "a.*.gate"}, {"bias"}};
    std::vector<std::tuple<std::string, DType, Shape>> const tensors = {{"x.wo.weight", DType::bf16, {2}},
                                                                        {"x.bias", DType::bf16, {2}},
                                                                        {"a.7.gate_proj", DType::bf16, {2}},
                                                                        {"x.w", DType::bf16, {2}}};
    Taken const half(tensors, DType::f16, {}, keep);
    EXPECT_EQ(half.dtype("x.wo.weight"), DType::f32);
    EXPECT_EQ(half.dtype("x.bias"), DType::f32);
    EXPECT_EQ(half.dtype("a.7.gate_proj"), DType::f32) << "no border of a name is needed";
    EXPECT_EQ(half.dtype("x.w"), DType::f16);
    Taken const brain(tensors, DType::bf16, {}, keep);
    EXPECT_EQ(brain.dtype("x.wo.weight"), DType::bf16);
    EXPECT_EQ(brain.dtype("x.bias"), DType::f32);
    Taken const stored(tensors, std::nullopt, {}, keep);
    EXPECT_EQ(stored.dtype("x.bias"), DType::bf16);
}

/// Whether one of the patterns is found in a name, by what it does to the name's type.
bool is_kept(std::vector<std::string> const& patterns, std::string const& name) {
    Taken const taken({{name, DType::bf16, {2}}}, DType::f16, {}, {patterns, {}});
    return taken.dtype(name) == DType::f32;
}

TEST(KeptPatterns, FindWhatTheReferencesHelperFinds) {
    EXPECT_TRUE(is_kept({"model.layers.0.weight"}, "model.layers.0.weight")) << "exact name";
    EXPECT_TRUE(is_kept({"model.layers.*.weight"}, "model.layers.12.weight")) << "digits";
    EXPECT_TRUE(is_kept({"model.layers.*.weight"}, "model.layers.a.weight"));
    EXPECT_TRUE(is_kept({"model.layers.*.weight"}, "model.layers.00x.weight"));
    EXPECT_FALSE(is_kept({"model.layers.*.weight"}, "model.other.0.weight"));
    EXPECT_FALSE(is_kept({"model.layers.0.weight"}, "model.layers.1.weight"));
    EXPECT_TRUE(is_kept({"model.layers.*.mlp.weight"}, "model.layers.0.mlp.weight.more")) << "text may follow";
    for (auto const* const name : {"layers.0.up.weight", "layers.0.gate.weight", "layers.0.down.weight"}) {
        EXPECT_TRUE(is_kept({"layers.*.up", "layers.*.gate", "layers.*.down"}, name)) << "a common beginning";
    }
    EXPECT_FALSE(is_kept({"layers.*.up", "layers.*.gate", "layers.*.down"}, "layers.0.norm.weight"));
}

TEST(KeptPatterns, OfTwoHundredEachIsLookedAt) {
    std::vector<std::string> patterns;
    for (int i = 0; i < 200; ++i) { patterns.push_back("block" + std::to_string(i) + ".*.bias"); }
    for (auto const* const i : {"0", "99", "199"}) {
        EXPECT_TRUE(is_kept(patterns, std::string("block") + i + ".3.bias")) << i;
        EXPECT_FALSE(is_kept(patterns, std::string("block") + i + ".3.weight")) << i;
    }
    EXPECT_FALSE(is_kept(patterns, "block200.3.bias"));
}

TEST(Leaves, CodesTakeTheirScalesIn) {
    Taken const taken({{"a.weight", DType::f8_e4m3, {4, 6}},
                       {"a.weight_scale_inv", DType::f32, {2, 3}},
                       {"a.input_scale", DType::f32, {}},
                       {"b.weight", DType::f8_e5m2, {4, 6}},
                       {"b.scale", DType::u8, {2, 1}},
                       {"c.weight", DType::i8, {4, 16}},
                       {"c.weight_scale_inv", DType::f8_e8m0, {4, 1}},
                       {"d.weight", DType::f8_e4m3, {4, 6}},
                       {"e.proj_blocks", DType::u8, {2, 6, 3, 16}},
                       {"e.proj_scales", DType::u8, {2, 6, 3}},
                       {"f.weight_scale_inv", DType::f32, {2}}},
                      std::nullopt, {true, DType::bf16});
    for (auto const* const name : {"a.weight_scale_inv", "a.input_scale", "b.scale", "c.weight_scale_inv",
                                   "e.proj_scales"}) {
        EXPECT_TRUE(taken.is_taken_in(name)) << name;
    }
    EXPECT_FALSE(taken.is_taken_in("f.weight_scale_inv"));
    EXPECT_EQ(taken.leaf("a.weight").kind, Expression::Kind::dequantize);
    EXPECT_EQ(taken.dtype("b.weight"), DType::bf16);
    EXPECT_EQ(taken.leaf("c.weight").shape, (Shape{4, 32})) << "two codes a byte";
    EXPECT_EQ(taken.dtype("d.weight"), DType::f8_e4m3) << "has no scales";
    EXPECT_EQ(taken.leaves.name_of(taken.index("e.proj_blocks")), "e.proj");
    EXPECT_EQ(taken.leaf("e.proj_blocks").shape, (Shape{2, 96, 6}));
}

TEST(Leaves, NumbersHaveTheTypeAskedForElseTheModelsElseThatOfTheScales) {
    std::vector<std::tuple<std::string, DType, Shape>> const tensors = {{"a.weight", DType::f8_e4m3, {4, 4}},
                                                                        {"a.weight_scale_inv", DType::f32, {2, 2}},
                                                                        {"b.weight", DType::f8_e4m3, {4, 4}},
                                                                        {"b.weight_scale_inv", DType::f8_e8m0, {2, 2}}};
    EXPECT_EQ(Taken(tensors, DType::f16, {true, DType::bf16}).dtype("a.weight"), DType::f16);
    EXPECT_EQ(Taken(tensors, std::nullopt, {true, DType::bf16}).dtype("a.weight"), DType::bf16);
    EXPECT_EQ(Taken(tensors, std::nullopt, {true, std::nullopt}).dtype("a.weight"), DType::f32);
    EXPECT_EQ(Taken(tensors, std::nullopt, {true, std::nullopt}).dtype("b.weight"), DType::bf16);
    EXPECT_EQ(Taken(tensors, DType::f16, {false, DType::bf16}).dtype("a.weight"), DType::f8_e4m3);
    EXPECT_THAT(error_of([&] { Taken(tensors, DType::f8_e5m2, {true, std::nullopt}); }),
                IsError(Errc::input, "F8_E5M2"));
}

TEST(Leaves, ScalesThatDoNotFitAreRefusedWithBothNames) {
    Taken const taken({{"a.weight", DType::f8_e4m3, {4, 4}}, {"a.weight_scale_inv", DType::f32, {3, 2}}}, std::nullopt,
                      {true, std::nullopt});
    EXPECT_THAT(error_of([&] { taken.leaf("a.weight"); }), IsError(Errc::input, "a.weight with a.weight_scale_inv"));
}

}  // namespace
}  // namespace shardwise::test
