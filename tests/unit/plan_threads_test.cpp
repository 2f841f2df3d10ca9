// A plan is the same however many threads work it out.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <shardwise/plan.hpp>

#include "report/plan_report.hpp"
#include "support/one_hardware_thread.hpp"
#include "support/planning.hpp"
#include "util/parallel.hpp"

namespace shardwise::test {
namespace {

enum class Experts { bf16, fp8_with_scales };

/// Enough names, parameters and waves for several threads each: 64 layers of 100 experts in files of a layer.
Catalog many_experts(Experts kind) {
    Catalog::Parts parts;
    parts.config_json = R"({"model_type": "qwen3_moe", "num_hidden_layers": 64, "num_experts": 100})";
    auto const add = [&](std::string name, Shape const& shape, DType dtype = DType::bf16) {
        auto& file = parts.files.back();
        TensorRecord tensor;
        tensor.name = std::move(name);
        tensor.dtype = dtype;
        tensor.shape = shape;
        tensor.file = static_cast<std::uint32_t>(parts.files.size() - 1);
        tensor.begin = file.size_bytes;
        tensor.size_bytes = static_cast<std::uint64_t>(shape.num_elements() * bits(dtype) / 8);
        file.size_bytes += tensor.size_bytes;
        parts.tensors.push_back(std::move(tensor));
    };
    auto const add_expert = [&](std::string const& name, Shape const& shape) {
        if (kind == Experts::bf16) { return add(name, shape); }
        add(name, shape, DType::f8_e4m3);
        add(name + "_scale_inv", {shape[0] / 8, shape[1] / 8}, DType::f32);
    };
    for (int layer = 0; layer < 64; ++layer) {
        parts.files.push_back({fmt::format("layer-{}.safetensors", layer), 1001, 1001});
        auto const start = fmt::format("model.layers.{}.", layer);
        for (auto const* const norm : {"input_layernorm", "post_attention_layernorm"}) {
            add(fmt::format("{}{}.weight", start, norm), {64});
        }
        for (auto const* const name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
            add(fmt::format("{}self_attn.{}.weight", start, name), {64, 64});
        }
        for (int expert = 0; expert < 100; ++expert) {
            auto const experts = fmt::format("{}mlp.experts.{}.", start, expert);
            add_expert(experts + "down_proj.weight", {64, 32});
            add_expert(experts + "gate_proj.weight", {32, 64});
            add_expert(experts + "up_proj.weight", {32, 64});
        }
        add(start + "mlp.gate.weight", {100, 64});
    }
    return Catalog(std::move(parts));
}

Plan plan_of(Catalog const& catalog, StrategyChoice strategy) {
    return make_plan(catalog, Architecture::load("qwen3_moe"), options_for({.tp = 4}, strategy, 2ULL << 20U), 1);
}

std::string told(Plan const& plan) {
    return plan_json({&plan, 1}, true);
}

TEST(PlanThreads, ThePlanIsTheOneThatASingleThreadMakes) {
    if (own_hardware_threads() == 1) { GTEST_SKIP() << "there is one hardware thread"; }
    for (auto const kind : {Experts::bf16, Experts::fp8_with_scales}) {
        for (auto const strategy : {StrategyChoice::cooperative, StrategyChoice::direct}) {
            auto const together = plan_of(many_experts(kind), strategy);
            EXPECT_TRUE(strategy == StrategyChoice::direct || together.waves.size() >= 128)
                << "too few to be shared out";
            OneHardwareThread const bound;
            EXPECT_TRUE(told(together) == told(plan_of(many_experts(kind), strategy)))
                << "experts " << static_cast<int>(kind) << ", strategy " << static_cast<int>(strategy);
        }
    }
}

}  // namespace
}  // namespace shardwise::test
