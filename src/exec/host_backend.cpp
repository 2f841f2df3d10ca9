#include <algorithm>

#include <fmt/format.h>

#include "device/host_memory.hpp"
#include "exec/lanes.hpp"
#include "exec/load_backend.hpp"
#include "exec/scales.hpp"

namespace shardwise {
namespace {

constexpr std::size_t kMostLanes = 4;
constexpr std::size_t kUringDepth = 64;

class HostBackend final : public LoadBackend {
   public:
    explicit HostBackend(Communicator& communicator) : communicator_(communicator) {}

    std::vector<MemoryNeed> memory_needs(Plan const& plan) const override {
        auto const node = communicator_.layout().node_of[static_cast<std::size_t>(communicator_.rank())];
        return {{fmt::format("node {}", node), "this node",
                 plan.store_bytes + plan.totals.staging_bytes + scale_bytes(plan), available_memory_bytes()}};
    }

    Memory allocate_arena(std::uint64_t size_bytes) override { return make_host_memory(size_bytes); }
    Memory allocate_tensor(std::uint64_t size_bytes) override {
        return make_host_tensor_memory(size_bytes, kStoreAlignment);
    }
    Memory allocate_staging(std::uint64_t size_bytes) override { return make_host_memory(size_bytes); }

    std::unique_ptr<Transport> make_transport(Plan const& plan, TransportChoice choice,
                                              std::vector<std::string>& notes) override {
        if (communicator_.size() == 1) { return make_self_transport(); }
        std::string note;
        auto transport = make_mpi_transport(communicator_, {plan.slot_count, plan.slot_bytes}, choice, note);
        if (!note.empty()) { notes.push_back(fmt::format("shared memory is not used: {}", note)); }
        return transport;
    }

    /// As many threads as asked for or as there are cores, but their rooms must leave a buffer for reads that go on by
    /// themselves.
    std::unique_ptr<Placer> make_placer(Plan const& plan, TensorSpans tensors, Scalings scalings,
                                        std::size_t threads) override {
        auto const cores = usable_cores(communicator_.layout().neighbours.size());
        auto const wanted = threads > 0 ? threads : std::min(cores, kMostLanes);
        return std::make_unique<Lanes>(std::min<std::size_t>(wanted, plan.direct_buffers - 1), tensors,
                                       plan.request_bytes, scalings);
    }

    std::unique_ptr<ReaderSet> make_readers(Plan const& plan, ReaderChoice choice, Memory const&) override {
        auto const obstacle = uring_obstacle();
        std::vector<FileReader> readers;
        for (auto const& facts : plan.facts) { readers.push_back(choose_reader(facts, choice, obstacle)); }
        return std::make_unique<ReaderSet>(plan.files, std::move(readers), ReaderLimits{.depth = kUringDepth});
    }

   private:
    Communicator& communicator_;
};

}  // namespace

std::unique_ptr<LoadBackend> make_host_backend(Communicator& communicator) {
    return std::make_unique<HostBackend>(communicator);
}

}  // namespace shardwise
