// The laws of a plan, without MPI and without files: the plans of all ranks are carried out byte by byte in memory and
// compared with conversions of whole tensors that are then cut.
#include <algorithm>
#include <functional>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <shardwise/architecture.hpp>

#include "support/plan_interpreter.hpp"
#include "support/planning.hpp"

namespace shardwise::test {
namespace {

constexpr std::uint64_t kMiB = 1ULL << 20U;

struct Job {
    Mesh mesh;
    int random_cases;
};

/// Ranks alone, in odd numbers, as many as the largest test job, and replicas.
constexpr Job kJobs[] = {{{.tp = 1}, 60},
                         {{.tp = 2}, 60},
                         {{.tp = 3}, 60},
                         {{.tp = 4}, 60},
                         {{.tp = 8}, 40},
                         {{.dp = 2}, 30},
                         {{.dp = 2, .tp = 2}, 30},
                         {{.dp = 2, .tp = 3}, 30},
                         {{.dp = 2, .tp = 4}, 20},
                         {{.fsdp = 2}, 40},
                         {{.fsdp = 3, .tp = 2}, 30},
                         {{.fsdp = 2, .tp = 2, .ep = 4}, 40},
                         {{.fsdp = 4, .ep = 2}, 30},
                         {{.fsdp = 3, .tp = 2, .ep = 6}, 30},
                         {{.pp = 2}, 40},
                         {{.pp = 3, .tp = 2}, 30},
                         {{.pp = 2, .fsdp = 2, .tp = 2}, 30},
                         {{.dp = 2, .fsdp = 2, .tp = 2}, 20},
                         {{.pp = 2, .dp = 2, .fsdp = 2, .ep = 2}, 20}};

constexpr StrategyChoice kStrategies[] = {StrategyChoice::automatic, StrategyChoice::direct,
                                          StrategyChoice::cooperative};

std::string describe(PlanOptions const& options) {
    return fmt::format("{}, strategy {}, staging {}", to_string(options.mesh), static_cast<int>(options.strategy),
                       options.staging_bytes);
}

/// Every rank holds what it should, and every byte of it was put in place once.
void expect_right_tensors(TestModel const& model, std::span<Plan const> plans) {
    auto const memories = interpret(plans, model.files());
    for (std::size_t rank = 0; rank < plans.size(); ++rank) {
        auto const& plan = plans[rank];
        ASSERT_EQ(plan.tensors.size(), model.names_on(plan.rank).size());
        ASSERT_EQ(plan.tensors.size() + plan.elsewhere.size(), model.parameters().list.size());
        for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
            auto const expected = model.expected(plan.tensors[i].name, plan.rank);
            auto const& held = memories[rank].tensors[i];
            ASSERT_EQ(held.size(), expected.size()) << plan.tensors[i].name << " on rank " << rank;
            auto const differs = std::mismatch(held.begin(), held.end(), expected.begin()).first - held.begin();
            ASSERT_EQ(static_cast<std::size_t>(differs), held.size())
                << plan.tensors[i].name << " on rank " << rank << " differs from that byte on";
            auto const& writes = memories[rank].writes[i];
            ASSERT_TRUE(std::all_of(writes.begin(), writes.end(), [](auto count) { return count == 1; }))
                << plan.tensors[i].name << " on rank " << rank << " has bytes that were not put in place exactly once";
        }
    }
}

TEST(PlanLaws, CarriedOutPlansGiveTheCutOfTheConvertedWhole) {
    std::uint32_t seed = 7;
    for (auto const& job : kJobs) {
        auto const model = mixed_model("model", ++seed, job.mesh, job.random_cases);
        for (auto const strategy : kStrategies) {
            for (auto const staging : {1 * kMiB, 3 * kMiB, 64 * kMiB}) {
                auto const options = options_for(job.mesh, strategy, staging);
                SCOPED_TRACE(describe(options));
                ASSERT_NO_FATAL_FAILURE(expect_right_tensors(model, plan_all(model, options)));
            }
        }
    }
}

TEST(PlanLaws, HoldWhenReadsAreDealtOverFiles) {
    for (auto const& mesh : {Mesh{.tp = 3}, Mesh{.dp = 2, .tp = 2}, Mesh{.pp = 2, .fsdp = 2, .tp = 2}}) {
        for (auto const strategy : kStrategies) {
            for (auto const files : {2U, 16U}) {
                auto options = options_for(mesh, strategy, kMiB);
                options.files_at_once = files;
                SCOPED_TRACE(fmt::format("{}, {} files at once", describe(options), files));
                for (auto const& model : {mixed_model("model", 31, mesh, 30), small_mixtral("model", mesh)}) {
                    ASSERT_NO_FATAL_FAILURE(expect_right_tensors(model, plan_all(model, options)));
                }
            }
        }
    }
}

TEST(PlanLaws, FilesInTheCacheAndFilesOnDiskMixInOnePlan) {
    auto const model = mixed_model("model", 3, {.tp = 4}, 20);
    std::vector<FileFacts> facts(model.files().size());
    facts[0].cached_fraction = 1;
    auto const plans = plan_all(model, options_for({.tp = 4}, StrategyChoice::automatic, kMiB), facts);
    EXPECT_FALSE(plans[0].direct.empty());
    EXPECT_FALSE(plans[0].waves.empty());
    expect_right_tensors(model, plans);
}

TEST(PlanLaws, ArchitecturesGiveTheParametersOfTheReference) {
    using Maker = TestModel (*)(std::string const&, Mesh const&);
    for (auto const& [name, make] :
         {std::pair<char const*, Maker>{"llama", small_llama}, {"phi3", small_phi3}, {"mixtral", small_mixtral}}) {
        for (auto const& mesh : {Mesh{}, Mesh{.tp = 3}, Mesh{.dp = 2, .tp = 2}, Mesh{.tp = 8}, Mesh{.fsdp = 3, .tp = 2},
                                 Mesh{.pp = 2, .tp = 2}, Mesh{.pp = 2, .fsdp = 2}, Mesh{.pp = 4}}) {
            SCOPED_TRACE(fmt::format("{}, {}", name, to_string(mesh)));
            auto const model = make("model", mesh);
            auto const architecture = Architecture::for_config(model.catalog().config_json());
            for (auto const strategy : kStrategies) {
                std::vector<Plan> plans;
                for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
                    plans.push_back(make_plan(model.catalog(), architecture, options_for(mesh, strategy, kMiB), rank));
                }
                ASSERT_NO_FATAL_FAILURE(expect_right_tensors(model, plans));
            }
        }
    }
}

/// How many ranks must hold each element, by mesh and placement: replicas, stages, uncut axes and repeated heads.
std::vector<std::int64_t> expected_holders(PlannedTensor const& tensor, Mesh const& mesh) {
    auto const stages = tensor.placement.stages.empty() ? mesh.pp : std::int64_t(tensor.placement.stages.size());
    std::int64_t parts = 1;
    for (auto const& cut : tensor.placement.cuts) { parts *= mesh.size(cut.axis); }
    auto const copies = stages * mesh.dp * mesh.fsdp * mesh.tp / parts;
    std::vector<std::int64_t> holders(static_cast<std::size_t>(tensor.global_shape.num_elements()), copies);
    for (auto const& cut : tensor.placement.cuts) {
        std::int64_t inner = 1;
        for (std::size_t dim = cut.dim + 1; dim < tensor.global_shape.rank(); ++dim) {
            inner *= tensor.global_shape[dim];
        }
        for (std::size_t i = 0; i < holders.size(); ++i) {
            auto at = static_cast<std::int64_t>(i) / inner % tensor.global_shape[cut.dim];
            for (auto const& block : cut.blocks) {
                if (at >= 0 && at < block.size) { holders[i] *= block.repeat; }
                at -= block.size;
            }
        }
    }
    return holders;
}

void count_held(PlannedTensor const& tensor, Mesh const& mesh, std::int64_t rank, std::vector<std::int64_t>& holders) {
    for (auto const& box : held_boxes(tensor.placement, tensor.global_shape, mesh, rank)) {
        auto const visit = [&](auto const& self, std::size_t dim, std::int64_t at) -> void {
            if (dim == tensor.global_shape.rank()) {
                ++holders.at(static_cast<std::size_t>(at));
                return;
            }
            for (auto i = box.indices[dim].begin; i < box.indices[dim].end; ++i) {
                self(self, dim + 1, at * tensor.global_shape[dim] + i);
            }
        };
        visit(visit, 0, 0);
    }
}

TEST(PlanLaws, AnExpertPlanGivesTheParametersOfTheReferenceAlsoWhereExpertsAreUneven) {
    for (auto const& mesh : {Mesh{.tp = 2}, Mesh{.tp = 4}, Mesh{.fsdp = 2, .tp = 2, .ep = 4}, Mesh{.fsdp = 4, .ep = 2},
                             Mesh{.pp = 2, .dp = 2, .fsdp = 2, .ep = 2}}) {
        SCOPED_TRACE(to_string(mesh));
        auto const model = small_mixtral_by_experts("model", mesh);
        auto const architecture = Architecture::for_config(model.catalog().config_json());
        for (auto const strategy : kStrategies) {
            auto options = options_for(mesh, strategy, kMiB);
            options.plan = "ep";
            std::vector<Plan> plans;
            for (std::int64_t rank = 0; rank < mesh.world(); ++rank) {
                plans.push_back(make_plan(model.catalog(), architecture, options, rank));
            }
            ASSERT_NO_FATAL_FAILURE(expect_right_tensors(model, plans));
        }
    }
}

TEST(PlanLaws, PiecesOfAReplicaGroupTileEveryParameter) {
    for (auto const& mesh : {Mesh{}, Mesh{.tp = 2}, Mesh{.tp = 3}, Mesh{.tp = 8}, Mesh{.fsdp = 3, .tp = 2},
                             Mesh{.fsdp = 2, .tp = 2, .ep = 4}, Mesh{.pp = 2, .dp = 2, .fsdp = 2, .tp = 2},
                             Mesh{.pp = 3, .fsdp = 4, .ep = 2}}) {
        auto const model = mixed_model("model", 11, mesh, 60);
        std::map<std::string, std::vector<std::int64_t>> holders;
        std::map<std::string, PlannedTensor> tensors;
        for (auto const& plan : plan_all(model, options_for(mesh, StrategyChoice::direct, kMiB))) {
            for (auto const& tensor : plan.tensors) {
                auto& counts = holders[tensor.name];
                counts.resize(static_cast<std::size_t>(tensor.global_shape.num_elements()), 0);
                count_held(tensor, mesh, plan.rank, counts);
                tensors.emplace(tensor.name, tensor);
            }
        }
        ASSERT_EQ(tensors.size(), model.parameters().list.size());
        for (auto const& [name, tensor] : tensors) {
            EXPECT_EQ(holders[name], expected_holders(tensor, mesh)) << name << ", " << to_string(mesh);
        }
    }
}

std::uint64_t read_bytes(std::span<Plan const> plans) {
    std::uint64_t bytes = 0;
    for (auto const& plan : plans) {
        for (auto const& read : plan.direct) { bytes += read.range.size_bytes; }
        for (auto const& wave : plan.waves) {
            for (auto const& read : wave.reads) { bytes += read.range.size_bytes; }
        }
    }
    return bytes;
}

TEST(PlanLaws, CooperativeReadingReadsEachNeededByteOnce) {
    for (auto const& mesh :
         {Mesh{.tp = 2}, Mesh{.tp = 3}, Mesh{.dp = 2, .tp = 2}, Mesh{.tp = 8}, Mesh{.dp = 2, .tp = 4},
          Mesh{.fsdp = 2, .tp = 2, .ep = 4}, Mesh{.pp = 2, .tp = 2}, Mesh{.pp = 3, .fsdp = 2}}) {
        auto const model = mixed_model("model", 5, mesh, 30, Casts::none);
        auto const bytes = read_bytes(plan_all(model, options_for(mesh, StrategyChoice::cooperative, kMiB)));
        auto const needed = model.needed_bytes();
        EXPECT_GE(bytes, needed);
        EXPECT_LE(static_cast<double>(bytes), 1.02 * static_cast<double>(needed)) << to_string(mesh);
    }
}

TEST(PlanLaws, CooperativeReadingOfAWholeModelReadsNothingTwiceAndNothingElse) {
    for (auto const& mesh :
         {Mesh{.tp = 2}, Mesh{.tp = 8}, Mesh{.dp = 2, .tp = 3}, Mesh{.fsdp = 2, .tp = 2}, Mesh{.pp = 2, .tp = 2}}) {
        auto const model = small_mixtral("model", mesh);
        auto const plans = plan_all(model, options_for(mesh, StrategyChoice::cooperative, kMiB));
        EXPECT_EQ(read_bytes(plans), model.catalog().tensor_bytes());
    }
}

TEST(PlanLaws, CastsOfAlignedTensorsAreReadTogetherOthersByTheirRanksAlone) {
    for (auto const skipped : {0, 1}) {
        ModelBuilder builder("model", 2);
        builder.add("pad", DType::u8, {skipped});
        builder.add("wide", DType::f32, {512, 300});
        auto model = builder.finish();
        model.add("wide", cast_of(model.leaf("wide"), DType::bf16), cut_along({512, 300}, 1, 4));
        auto const plans = plan_all(model, options_for({1, 4}, StrategyChoice::cooperative, kMiB));
        bool const is_aligned = model.leaf("wide").dtype == DType::f32 && model.catalog().tensors()[1].begin % 4 == 0;
        EXPECT_EQ(plans[0].waves.empty(), !is_aligned);
        if (is_aligned) { EXPECT_EQ(read_bytes(plans), 512U * 300 * 4); }
        expect_right_tensors(model, plans);
        EXPECT_EQ(plans[1].totals.needed_bytes, 512U * 75 * 4);
        EXPECT_EQ(plans[1].totals.store_bytes, 512U * 75 * 2);
    }
}

TEST(PlanLaws, DirectReadingOfCutsThatAreContiguousReadsEachByteOnce) {
    ModelBuilder builder("model", 1);
    for (int i = 0; i < 6; ++i) { builder.add(fmt::format("layer.{}", i), DType::bf16, {515, 333}); }
    auto model = builder.finish();
    for (int i = 0; i < 6; ++i) {
        model.add(fmt::format("layer.{}", i), model.leaf(fmt::format("layer.{}", i)), cut_along({515, 333}, 0, 4));
    }
    EXPECT_EQ(read_bytes(plan_all(model, options_for({.tp = 4}, StrategyChoice::direct, kMiB))),
              model.catalog().tensor_bytes());
}

/// A change to what a plan is made from.
struct Change {
    char const* what;
    std::function<void(Catalog::Parts&, Parameters&, PlanOptions&)> apply;
};

std::vector<Change> changes() {
    auto const options = [](auto edit) { return [=](Catalog::Parts&, Parameters&, PlanOptions& o) { edit(o); }; };
    auto const parameters = [](auto edit) {
        return [=](Catalog::Parts&, Parameters& p, PlanOptions&) { edit(p.list); };
    };
    auto const catalog = [](auto edit) { return [=](Catalog::Parts& c, Parameters&, PlanOptions&) { edit(c); }; };
    return {
        {"tp and dp", options([](PlanOptions& o) { o.mesh = {.dp = 4}; })},
        {"strategy", options([](PlanOptions& o) { o.strategy = StrategyChoice::direct; })},
        {"staging", options([](PlanOptions& o) { o.staging_bytes = 4 * kMiB; })},
        {"priority", options([](PlanOptions& o) { o.priority = {"large.rows"}; })},
        {"name of a plan", options([](PlanOptions& o) { o.plan = "ep"; })},
        {"name of a parameter", parameters([](auto& list) { list.back().name += "x"; })},
        {"placement", parameters([](auto& list) { list.back().placement = {}; })},
        {"unequal blocks", parameters([](auto& list) {
             for (auto& p : list) {
                 if (p.name == "large.blocks") { p.placement.cuts[0].blocks = {{100, 4, 1}, {150, 4, 1}}; }
             }
         })},
        {"conversion alone", parameters([](auto& list) {
             for (auto& p : list) {
                 if (p.name == "large.heads") { p.value.inverse = true; }
             }
         })},
        {"place of a tensor in its file", catalog([](Catalog::Parts& c) { c.tensors.back().begin -= 1; })},
        {"name of a stored tensor", catalog([](Catalog::Parts& c) { c.tensors.back().name += "x"; })},
        {"size of a file", catalog([](Catalog::Parts& c) { c.files.back().size_bytes += 1; })},
    };
}

TEST(PlanLaws, EveryRankAndEveryRunHasTheSameDigest) {
    for (auto const& mesh : {Mesh{}, Mesh{.tp = 3}, Mesh{.dp = 2, .tp = 4}, Mesh{.pp = 2, .fsdp = 2, .tp = 2}}) {
        std::set<std::string> digests;
        for (int run = 0; run < 2; ++run) {
            auto const model = mixed_model("model", 5, mesh, 10);
            for (auto const& plan : plan_all(model, options_for(mesh, StrategyChoice::automatic, kMiB))) {
                digests.insert(plan.digest);
            }
        }
        EXPECT_EQ(digests.size(), 1U);
        EXPECT_EQ(digests.begin()->size(), 32U);
    }
}

TEST(PlanLaws, AnyOtherInputHasAnotherDigest) {
    auto const model = mixed_model("model", 5, {.tp = 4}, 10);
    auto const digest_with = [&](Change const& change) {
        Catalog::Parts parts;
        parts.files.assign(model.catalog().files().begin(), model.catalog().files().end());
        parts.tensors.assign(model.catalog().tensors().begin(), model.catalog().tensors().end());
        auto parameters = model.parameters();
        auto options = options_for({.tp = 4}, StrategyChoice::cooperative, kMiB);
        change.apply(parts, parameters, options);
        return plan_parameters(Catalog(std::move(parts)), std::move(parameters), options, 0).digest;
    };
    std::map<std::string, std::string> seen = {{digest_with({"nothing", [](auto&, auto&, auto&) {}}), "nothing"}};
    for (auto const& change : changes()) {
        auto const [at, is_new] = seen.emplace(digest_with(change), change.what);
        EXPECT_TRUE(is_new) << "changing " << change.what << " gives the same digest as changing " << at->second;
    }
}

}  // namespace
}  // namespace shardwise::test
