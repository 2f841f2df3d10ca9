/// @file
/// Loads of a test model by all ranks of a job, in every way there is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <shardwise/materialize.hpp>

#include "exec/engine.hpp"
#include "support/mpi_world.hpp"
#include "support/test_model.hpp"

namespace shardwise::test {

/// How files are read: what the user asks for and what the files are taken for.
struct Storage {
    char const* name;
    ReaderChoice choice;
    bool is_cached;
    bool allows_direct;
};

/// How bytes cross ranks: ranks a node (0: all on one) and what the user asks for.
struct Network {
    char const* name;
    int ranks_per_node;
    TransportChoice choice;
};

/// One way to load.
struct Way {
    Storage storage;
    Network network;
    StrategyChoice strategy = StrategyChoice::automatic;
    std::uint64_t staging_bytes = 1ULL << 20U;
    Mesh mesh = {};  ///< of one rank: all ranks are tp ranks
    std::size_t lanes = 0;
    Allocation allocation = Allocation::arena;
    std::shared_ptr<TraceLog> trace = {};
    Device device = Device::host;
    /// Makes what the load runs on; none: the host's
    std::function<std::unique_ptr<LoadBackend>(Communicator&)> backend = {};
};
std::string describe(Way const& way);

/// All storages that work here (without io_uring where it is not allowed, which is printed), and all networks that make
/// a difference for @p ranks.
std::vector<Storage> storages();
std::vector<Network> networks(int ranks);

/// Meshes of that many ranks: every dimension alone, and together.
std::vector<Mesh> meshes(int ranks);

/// A model in files that all ranks can read, made once for each mesh, with and without casts; removed when the process
/// ends. Collective.
TestModel const& model_on_disk(Mesh const& mesh, Casts casts = Casts::none);
inline TestModel const& model_on_disk(std::int64_t tp) {
    return model_on_disk(Mesh{.tp = tp});
}

/// The mesh of @p way with that many ranks.
Mesh mesh_of(Way const& way, std::int64_t ranks);

/// A folder all ranks can use, its name the same on all; removed when the process ends. Collective.
std::string shared_folder(std::string const& name);

/// A job: the ranks, connected as @p network says.
Context make_job(Network const& network);

/// This rank's plan for loading @p model that way.
/// @param facts of its files, if not the same for all.
Plan plan_for(TestModel const& model, Way const& way, Context const& context, std::vector<FileFacts> facts = {});

Materialization start(Plan const& plan, Way const& way, Context& context, ReaderHook const& hook = {});

/// The first difference between what a rank holds and what it should, in words; empty if there is none.
std::string difference(ParameterStore const& store, Plan const& plan, TestModel const& model);

}  // namespace shardwise::test
