// A program that runs MPI itself and loads a checkpoint through the installed package, over a communicator of its own.
#include <cstdio>

#include <shardwise/mpi.hpp>
#include <shardwise/shardwise.hpp>

namespace {

/// Tensors that came, in the order in which they came.
std::size_t load(char const* checkpoint, MPI_Comm comm) {
    auto context = shardwise::make_context(comm);
    auto const catalog = shardwise::Catalog::open(checkpoint, context);
    auto const architecture = shardwise::Architecture::for_config(catalog.config_json());
    shardwise::PlanOptions options;
    options.mesh.tp = context.size();
    auto const plan =
        shardwise::make_plan(catalog, architecture, options, context.rank(), shardwise::probe_files(catalog, context));

    auto materialization = shardwise::spawn_tp_materialize(plan, context);
    std::size_t count = 0;
    while (auto tensor = materialization.next()) {
        if (tensor->info->name != plan.tensors[count].name || tensor->bytes.size() != tensor->info->size_bytes) {
            return 0;
        }
        ++count;
    }
    auto const store = materialization.wait();
    return store.size() == count && store.find("model.norm.weight") ? count : 0;
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) { return 2; }
    MPI_Init(nullptr, nullptr);
    int status = 0;
    try {
        auto const tensors = load(arguments[1], MPI_COMM_WORLD);
        int rank = 0;
        int ranks = 0;
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        MPI_Comm_size(MPI_COMM_WORLD, &ranks);
        if (rank == 0) { std::printf("%zu tensors on each of %d ranks\n", tensors, ranks); }
    } catch (shardwise::Error const& error) {
        std::fprintf(stderr, "%s\n", error.what());
        status = error.exit_status();
    }
    MPI_Finalize();
    return status;
}
