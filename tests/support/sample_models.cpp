// The models that several tests load: random chains of conversions, and small models of known architectures with their
// parameters spelt out by hand from the reference's rules.
#include <fmt/format.h>

#include "support/random_expression.hpp"
#include "support/test_model.hpp"

namespace shardwise::test {
namespace {

/// Moves an expression from the leaves of a random case to a catalog's tensors, all taken as @p dtype.
Expression moved(Expression expression, DType dtype, std::vector<Expression> const& leaves) {
    if (expression.kind == Expression::Kind::source) { return cast_of(leaves[expression.source], dtype); }
    expression.dtype = dtype;
    for (auto& input : expression.inputs) { input = moved(std::move(input), dtype, leaves); }
    return expression;
}

struct TypedCase {
    RandomCase random;
    DType dtype;
    bool is_mixed;  ///< of sources that have several types and are cast

    DType source_type(std::size_t source) const {
        static constexpr DType kTypes[] = {DType::f16, DType::f32, DType::bf16, DType::f8_e4m3, DType::f64};
        return is_mixed ? kTypes[source % std::size(kTypes)] : dtype;
    }
};

std::vector<TypedCase> random_cases(std::mt19937& random, int count, Casts casts) {
    static constexpr DType kTypes[] = {DType::u8, DType::bf16, DType::f32, DType::i64};
    static constexpr DType kCastTypes[] = {DType::bf16, DType::f32, DType::f8_e5m2};
    std::vector<TypedCase> cases;
    for (int i = 0; i < count; ++i) {
        auto drawn = random_case(random);
        bool const is_mixed = casts == Casts::some && random() % 3 == 0;
        auto const dtype =
            is_mixed ? kCastTypes[random() % std::size(kCastTypes)] : kTypes[random() % std::size(kTypes)];
        cases.push_back({std::move(drawn), dtype, is_mixed});
    }
    return cases;
}

void add_large_sources(ModelBuilder& builder, Casts casts) {
    builder.add("large.rows", DType::f32, {203, 301});
    builder.add("large.columns", DType::bf16, {515, 130});
    builder.add("large.blocks", DType::bf16, {250, 97});
    builder.next_file();
    builder.add("large.turned", DType::u8, {160, 171});
    builder.add("large.heads", DType::bf16, {128, 96});
    builder.add("large.fused", DType::bf16, {192, 81});
    for (int i = 0; i < 4; ++i) { builder.add(fmt::format("large.experts.{}.gate", i), DType::bf16, {33, 64}); }
    for (int i = 0; i < 4; ++i) { builder.add(fmt::format("large.experts.{}.up", i), DType::bf16, {33, 64}); }
    builder.next_file();
    if (casts == Casts::some) {
        builder.add("large.wide", DType::f32, {251, 190});
        builder.add("large.narrow", DType::bf16, {190, 250});
        builder.add("large.short", DType::f16, {77, 121});
    }
    builder.add("large.norm", DType::f32, {9001});
    builder.add("large.embedding", DType::bf16, {701, 64});
}

Expression stacked_experts(TestModel const& model, std::string const& which) {
    std::vector<Expression> experts;
    for (int i = 0; i < 4; ++i) { experts.push_back(model.leaf(fmt::format("large.experts.{}.{}", i, which))); }
    return stack_of(std::move(experts), 0);
}

/// With dimension 0 of what is left cut among the fsdp ranks, on the given stages.
Placement on_mesh(Placement placement, Mesh const& mesh, std::vector<std::int64_t> stages = {}) {
    bool const is_expert = !placement.cuts.empty() && placement.cuts.front().axis == MeshAxis::ep;
    auto const outer = is_expert ? MeshAxis::efsdp : MeshAxis::fsdp;
    if (mesh.size(outer) > 1) { placement.cuts.push_back({Placement::Kind::shard, 0, {}, outer}); }
    if (mesh.pp > 1) { placement.stages = std::move(stages); }
    return placement;
}

Placement packed(std::uint32_t dim, std::vector<Placement::Block> blocks) {
    return {{{Placement::Kind::packed, dim, std::move(blocks), MeshAxis::tp}}, {}};
}

/// In natural order of names, as planning expects it. Embedding and norm are wanted by every stage.
void add_large_parameters(TestModel& model, Casts casts) {
    auto const& mesh = model.mesh;
    auto const tp = mesh.tp;
    auto const last = mesh.pp - 1;
    auto const cut = [&](Expression value, std::string name, std::size_t dim, std::int64_t stage) {
        auto const placement = on_mesh(cut_along(value.shape, dim, tp), mesh, {stage});
        model.add(std::move(name), std::move(value), placement);
    };
    model.add("large.blocks", model.leaf("large.blocks"),
              on_mesh(packed(0, {{150, tp, 1}, {100, tp, 1}}), mesh, {last}));
    cut(model.leaf("large.columns"), "large.columns", 0, 0);
    model.add("large.embedding", model.leaf("large.embedding"), on_mesh({}, mesh));
    std::vector<Expression> gate_up;
    gate_up.push_back(stacked_experts(model, "gate"));
    gate_up.push_back(stacked_experts(model, "up"));
    model.add("large.experts.gate_up", concatenation_of(std::move(gate_up), 1),
              on_mesh(packed(1, {{33, tp, 1}, {33, tp, 1}}), mesh, {last}));
    // Parts of one stored tensor on several stages.
    cut(slice_of(model.leaf("large.fused"), 0, 96, 144), "large.fused.k", 1, last);
    cut(slice_of(model.leaf("large.fused"), 0, 0, 96), "large.fused.q", 0, 0);
    model.add("large.fused.v", slice_of(model.leaf("large.fused"), 0, 144, 192), on_mesh({}, mesh, {0, last}));
    cut(interleave_of(model.leaf("large.heads"), 0, 4, false), "large.heads", 0, last);
    model.add("large.norm", model.leaf("large.norm"), on_mesh({}, mesh));
    cut(model.leaf("large.rows"), "large.rows", 1, 0);
    if (casts == Casts::some) {
        cut(cast_of(model.leaf("large.wide"), DType::bf16), "large.to_bf16", 1, 0);
        cut(transpose_of(cast_of(model.leaf("large.narrow"), DType::f16), 0, 1), "large.to_f16", 0, last);
        cut(cast_of(model.leaf("large.short"), DType::f32), "large.to_f32", 0, last);
    }
    cut(transpose_of(model.leaf("large.turned"), 0, 1), "large.turned", 0, last);
}

/// What every kind of attention and the parts outside the layers share.
void add_dense_sources(ModelBuilder& builder, std::string const& layer) {
    builder.add(layer + "input_layernorm.weight", DType::f32, {64});
    builder.add(layer + "self_attn.q_proj.weight", DType::bf16, {64, 64});
    builder.add(layer + "self_attn.k_proj.weight", DType::bf16, {32, 64});
    builder.add(layer + "self_attn.v_proj.weight", DType::bf16, {32, 64});
    builder.add(layer + "self_attn.o_proj.weight", DType::bf16, {64, 64});
}

struct Cutter {
    TestModel& model;
    std::vector<std::int64_t> stages;

    /// A stored tensor under its own name, cut along a dimension or held whole (-1) by the tp ranks.
    void operator()(std::string const& name, int dim) const {
        auto value = model.leaf(name);
        auto const& mesh = model.mesh;
        auto const cut = dim < 0 ? Placement{} : cut_along(value.shape, static_cast<std::size_t>(dim), mesh.tp);
        model.add(name, std::move(value), on_mesh(cut, mesh, stages));
    }
};

void add_dense_parameters(Cutter const& cut, std::string const& layer) {
    cut(layer + "input_layernorm.weight", -1);
    cut(layer + "self_attn.q_proj.weight", 0);
    cut(layer + "self_attn.k_proj.weight", 0);
    cut(layer + "self_attn.v_proj.weight", 0);
    cut(layer + "self_attn.o_proj.weight", 1);
}

std::string layer_name(int layer) {
    return fmt::format("model.layers.{}.", layer);
}

std::string config_of(std::string const& type) {
    return fmt::format(R"({{"model_type":"{}","hidden_size":64,"num_attention_heads":8,)"
                       R"("num_key_value_heads":4,"intermediate_size":90,"num_local_experts":3}})",
                       type);
}

}  // namespace

TestModel mixed_model(std::string const& folder, std::uint32_t seed, Mesh const& mesh, int count, Casts casts) {
    std::mt19937 random(seed);
    auto const cases = random_cases(random, count, casts);
    ModelBuilder builder(folder, seed);
    for (std::size_t i = 0; i < cases.size(); ++i) {
        for (std::size_t k = 0; k < cases[i].random.sources.size(); ++k) {
            builder.add(fmt::format("case.{}.{}", i, k), cases[i].source_type(k), cases[i].random.sources[k]);
        }
    }
    add_large_sources(builder, casts);
    auto model = builder.finish();
    model.mesh = mesh;
    for (std::size_t i = 0; i < cases.size(); ++i) {
        std::vector<Expression> leaves;
        for (std::size_t k = 0; k < cases[i].random.sources.size(); ++k) {
            leaves.push_back(model.leaf(fmt::format("case.{}.{}", i, k)));
        }
        auto value = moved(cases[i].random.expression, cases[i].dtype, leaves);
        auto placement = value.shape.rank() == 0 ? Placement{} : random_placement(random, value.shape, mesh);
        model.add(fmt::format("case.{}", i), std::move(value), std::move(placement));
    }
    add_large_parameters(model, casts);
    return model;
}

TestModel small_llama(std::string const& folder, Mesh const& mesh) {
    ModelBuilder builder(folder, 1);
    for (int i = 0; i < 2; ++i) {
        auto const layer = layer_name(i);
        add_dense_sources(builder, layer);
        builder.add(layer + "mlp.gate_proj.weight", DType::bf16, {90, 64});
        builder.add(layer + "mlp.up_proj.weight", DType::bf16, {90, 64});
        builder.add(layer + "mlp.down_proj.weight", DType::bf16, {64, 90});
        builder.next_file();
    }
    builder.add("model.embed_tokens.weight", DType::bf16, {101, 64});
    builder.add("lm_head.weight", DType::bf16, {101, 64});
    auto model = builder.finish(config_of("llama"));
    model.mesh = mesh;
    auto const last = mesh.pp - 1;
    Cutter{model, {last}}("lm_head.weight", 0);
    // Added by the reference to every plan that does not name it.
    Cutter{model, {0}}("model.embed_tokens.weight", 0);
    for (int i = 0; i < 2; ++i) {
        auto const layer = layer_name(i);
        Cutter const cut{model, {mesh.pp == 2 ? i : last}};  // more stages than layers: the last one takes all
        add_dense_parameters(cut, layer);
        cut(layer + "mlp.gate_proj.weight", 0);
        cut(layer + "mlp.up_proj.weight", 0);
        cut(layer + "mlp.down_proj.weight", 1);
    }
    return model;
}

TestModel small_phi3(std::string const& folder, Mesh const& mesh) {
    ModelBuilder builder(folder, 2);
    auto const layer = layer_name(0);
    builder.add(layer + "self_attn.qkv_proj.weight", DType::bf16, {128, 64});
    builder.add(layer + "self_attn.o_proj.weight", DType::bf16, {64, 64});
    builder.add(layer + "mlp.gate_up_proj.weight", DType::bf16, {180, 64});
    builder.add(layer + "mlp.down_proj.weight", DType::bf16, {64, 90});
    builder.add("model.norm.weight", DType::f32, {64});
    auto model = builder.finish(config_of("phi3"));
    model.mesh = mesh;
    Cutter const cut{model, {mesh.pp - 1}};
    cut(layer + "self_attn.qkv_proj.weight", 0);
    cut(layer + "self_attn.o_proj.weight", 1);
    cut(layer + "mlp.gate_up_proj.weight", 0);
    cut(layer + "mlp.down_proj.weight", 1);
    cut("model.norm.weight", -1);
    return model;
}

namespace {

/// With the experts' parameters, stacked, cut by @p gate_up and @p down.
TestModel mixtral_with(std::string const& folder, Mesh const& mesh, Placement const& gate_up_cut,
                       Placement const& down_cut) {
    ModelBuilder builder(folder, 3);
    auto const layer = layer_name(0);
    add_dense_sources(builder, layer);
    auto const expert = [&](int i, char const* which) {
        return fmt::format("{}block_sparse_moe.experts.{}.{}.weight", layer, i, which);
    };
    builder.next_file();
    for (int i = 0; i < 3; ++i) {
        builder.add(expert(i, "w1"), DType::bf16, {90, 64});
        builder.add(expert(i, "w2"), DType::bf16, {64, 90});
        builder.add(expert(i, "w3"), DType::bf16, {90, 64});
    }
    auto model = builder.finish(config_of("mixtral"));
    model.mesh = mesh;
    add_dense_parameters(Cutter{model, {mesh.pp - 1}}, layer);
    auto const stacked = [&](char const* which) {
        std::vector<Expression> experts;
        for (int i = 0; i < 3; ++i) { experts.push_back(model.leaf(expert(i, which))); }
        return stack_of(std::move(experts), 0);
    };
    std::vector<Expression> gate_up;
    gate_up.push_back(stacked("w1"));
    gate_up.push_back(stacked("w3"));
    model.add(layer + "mlp.experts.gate_up_proj", concatenation_of(std::move(gate_up), 1),
              on_mesh(gate_up_cut, mesh, {mesh.pp - 1}));
    model.add(layer + "mlp.experts.down_proj", stacked("w2"), on_mesh(down_cut, mesh, {mesh.pp - 1}));
    return model;
}

}  // namespace

TestModel small_mixtral(std::string const& folder, Mesh const& mesh) {
    return mixtral_with(folder, mesh, packed(1, {{90, mesh.tp, 1}, {90, mesh.tp, 1}}),
                        cut_along({3, 64, 90}, 2, mesh.tp));
}

TestModel small_mixtral_by_experts(std::string const& folder, Mesh const& mesh) {
    bool const is_other_view = mesh.expert_ranks() != mesh.tp;
    Placement const experts = {
        {{Placement::Kind::expert, 0, {{3, mesh.expert_ranks(), 1}}, is_other_view ? MeshAxis::ep : MeshAxis::tp}}, {}};
    return mixtral_with(folder, mesh, experts, experts);
}

}  // namespace shardwise::test
