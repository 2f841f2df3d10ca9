// Rule files, which users write themselves: the parser, then everything that runs on what it accepted.
#include <algorithm>
#include <string>

#include <shardwise/error.hpp>

#include "fuzz/require.hpp"
#include "mapping/architecture_data.hpp"
#include "mapping/mapped_names.hpp"
#include "mapping/size_expression.hpp"

namespace shardwise {
namespace {

constexpr std::string_view kName = "model.layers.12.mlp.experts.3.w1.weight";

/// Runs @p action; it may only throw Error.
template <class Action>
void attempt(Action&& action) {
    try {
        action();
    } catch (Error const&) {}
}

void check_transform(Transform const& transform) {
    REQUIRE(!transform.targets.empty());
    REQUIRE(!transform.pattern.sources().empty());
    bool const converts = transform.kind == Transform::Kind::convert;
    REQUIRE(converts != transform.operations.empty());
    REQUIRE(!converts || transform.targets.size() == 1 || transform.pattern.sources().size() == 1 ||
            std::ranges::any_of(transform.operations, supports_many_to_many));
    attempt([&] {
        auto const match = transform.pattern.find(kName);
        if (!match) { return; }
        REQUIRE(match->source < transform.pattern.sources().size());
        REQUIRE(match->begin <= match->end && match->end <= kName.size());
        for (auto const group : match->groups) {
            REQUIRE(group.empty() ||
                    (group.data() >= kName.data() && group.data() + group.size() <= kName.data() + kName.size()));
        }
        for (auto const& target : transform.targets) { substitute_groups(target, match->groups); }
    });
}

void check(ArchitectureData const& data) {
    for (auto const& transform : data.transforms) { check_transform(transform); }
    attempt([&] { map_names(data.transforms, {kName, "lm_head.weight"}, data.base); });
    for (auto const& [name, expression] : data.components.front().sizes) {
        attempt([&, &text = expression] { evaluate_size(text, [](std::string const&) { return std::int64_t{8}; }); });
    }
    for (auto const& [name, plan] : data.plans) {
        auto const flat = flatten_plan(data, name);
        for (auto const& [parameter, rule] : plan.base) { REQUIRE(flat.base.contains(parameter)); }
        for (auto const* rules : {&flat.base, &flat.head}) {
            for (auto const& [parameter, rule] : *rules) {
                REQUIRE(rule.dim < Shape::kMaxRank);
                REQUIRE((rule.cut == Cut::packed) == !rule.blocks.empty());
            }
        }
    }
}

}  // namespace
}  // namespace shardwise

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace shardwise;
    try {
        std::string const text(reinterpret_cast<char const*>(data), size);
        auto const parsed = parse_architecture(text, "fuzz.json");
        check(parsed);
        for (auto const* names : {&parsed.model_types, &parsed.model_classes}) {
            for (auto const& name : *names) { check(parse_architecture(text, "fuzz.json", {name, name})); }
        }
    } catch (Error const& error) { REQUIRE(error.code() == Errc::input); }
    return 0;
}
