#include "support/loading.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>

#include <fmt/format.h>
#include <unistd.h>

#include "plan/planner.hpp"

namespace shardwise::test {
namespace {

namespace fs = std::filesystem;

/// Folders that this process made.
class Folders {
   public:
    ~Folders() {
        for (auto const& folder : made_) {
            std::error_code ignored;
            fs::remove_all(folder, ignored);
        }
    }

    std::string make(std::string const& name) {
        auto path = (fs::temp_directory_path() / fmt::format("shardwise-{}-XXXXXX", name)).string();
        if (::mkdtemp(path.data()) == nullptr) { throw std::runtime_error("cannot make " + path); }
        made_.push_back(path);
        return path;
    }

   private:
    std::vector<std::string> made_;
};

}  // namespace

std::string describe(Way const& way) {
    static constexpr char const* kStrategies[] = {"auto", "direct", "cooperative"};
    return fmt::format("{}, {}, strategy {}, staging {}, {}, lanes {}", way.storage.name, way.network.name,
                       kStrategies[static_cast<std::size_t>(way.strategy)], way.staging_bytes, to_string(way.mesh),
                       way.lanes);
}

std::vector<Storage> storages() {
    std::vector<Storage> result = {{"cached", ReaderChoice::automatic, true, false},
                                   {"mmap", ReaderChoice::mmap, false, false},
                                   {"pread", ReaderChoice::pread, false, false},
                                   {"pread, direct I/O", ReaderChoice::pread, false, true}};
    auto const obstacle = uring_obstacle();
    if (obstacle.empty()) {
        result.push_back({"uring", ReaderChoice::uring, false, false});
        result.push_back({"uring, direct I/O", ReaderChoice::uring, false, true});
    } else {
        std::printf("left out: uring (%s)\n", obstacle.c_str());
    }
    return result;
}

std::vector<Network> networks(int ranks) {
    if (ranks == 1) { return {{"alone", 0, TransportChoice::automatic}}; }
    std::vector<Network> result = {{"shared memory", 0, TransportChoice::shm},
                                   {"messages", 0, TransportChoice::mpi},
                                   {"a rank a node", 1, TransportChoice::automatic}};
    if (ranks > 2) { result.push_back({"two ranks a node", 2, TransportChoice::automatic}); }
    return result;
}

std::string shared_folder(std::string const& name) {
    static Folders folders;
    auto const world = make_world();
    std::string path;
    if (world->rank() == 0) { path = folders.make(name); }
    auto const bytes = world->broadcast(to_bytes(path), 0);
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

std::vector<Mesh> meshes(int ranks) {
    switch (ranks) {
        case 1:
            return {{}};
        case 2:
        case 3:
            return {{.tp = ranks}, {.fsdp = ranks}, {.pp = ranks}, {.dp = ranks}};
        case 4:
            return {{.tp = 4},
                    {.dp = 2, .tp = 2},
                    {.fsdp = 2, .tp = 2, .ep = 4},
                    {.pp = 2, .tp = 2},
                    {.pp = 2, .fsdp = 2, .ep = 2}};
        case 8:
            return {{.tp = 8},
                    {.dp = 2, .tp = 4},
                    {.dp = 2, .fsdp = 2, .tp = 2},
                    {.pp = 2, .fsdp = 2, .tp = 2},
                    {.fsdp = 4, .tp = 2, .ep = 4},
                    {.pp = 2, .dp = 2, .fsdp = 2, .ep = 2},
                    {.pp = 4, .tp = 2}};
        default:
            return {{.tp = ranks}};
    }
}

Mesh mesh_of(Way const& way, std::int64_t ranks) {
    return way.mesh.world() == 1 ? Mesh{.tp = ranks} : way.mesh;
}

TestModel const& model_on_disk(Mesh const& mesh, Casts casts) {
    static std::map<std::pair<Mesh, Casts>, TestModel> models;
    if (auto const found = models.find({mesh, casts}); found != models.end()) { return found->second; }
    auto const folder = shared_folder("model");
    auto const& model = models.emplace(std::pair(mesh, casts), mixed_model(folder, 21, mesh, 15, casts)).first->second;
    auto const world = make_world();
    together(*world, [&] {
        if (world->rank() == 0) { model.write(); }
    });
    return model;
}

Context make_job(Network const& network) {
    return Context(make_world(network.ranks_per_node));
}

Plan plan_for(TestModel const& model, Way const& way, Context const& context, std::vector<FileFacts> facts) {
    PlanOptions options;
    options.mesh = mesh_of(way, context.size());
    options.strategy = way.strategy;
    options.staging_bytes = way.staging_bytes;
    options.device = way.device;
    if (facts.empty()) {
        // 8: the models' places are often such; where the disk wants more, the page cache has to help.
        facts.assign(model.files().size(), {.cached_fraction = way.storage.is_cached ? 1.0 : 0.0,
                                            .allows_direct = way.storage.allows_direct,
                                            .file_system = "test",
                                            .memory_alignment = 8});
    }
    return plan_parameters(model.catalog(), model.parameters(), options, context.rank(), facts);
}

Materialization start(Plan const& plan, Way const& way, Context& context, ReaderHook const& hook) {
    LoadOptions options;
    options.reader = way.storage.choice;
    options.transport = way.network.choice;
    options.lanes = way.lanes;
    options.allocation = way.allocation;
    options.trace = way.trace;
    auto const make_backend = [&] {
        return way.backend ? way.backend(context.communicator()) : make_host_backend(context.communicator());
    };
    return Materialization(std::make_unique<Materialization::Engine>(plan, context, options, make_backend, hook));
}

std::string difference(ParameterStore const& store, Plan const& plan, TestModel const& model) {
    auto const count = model.names_on(plan.rank).size();
    if (store.size() != count) { return fmt::format("{} tensors instead of {}", store.size(), count); }
    for (std::size_t i = 0; i < store.size(); ++i) {
        auto const held = store.on_host(i);
        auto const& right = model.expected(held.info->name, plan.rank);
        if (held.bytes.size() != right.size()) {
            return fmt::format("{} has {} B instead of {}", held.info->name, held.bytes.size(), right.size());
        }
        auto const at = std::mismatch(right.begin(), right.end(), held.bytes.begin()).first - right.begin();
        if (static_cast<std::size_t>(at) < right.size()) {
            return fmt::format("{} differs from byte {} of {} on", held.info->name, at, right.size());
        }
    }
    return {};
}

}  // namespace shardwise::test
