#include <algorithm>

#include <fmt/format.h>

#include "device/host_memory.hpp"
#include "exec/lane_policy.hpp"
#include "exec/lanes.hpp"
#include "exec/load_backend.hpp"
#include "exec/scales.hpp"

namespace shardwise {
namespace {

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
        bool const is_unused = plan.waves.empty() && choice == TransportChoice::automatic;
        if (communicator_.size() == 1 || is_unused) { return make_self_transport(); }
        std::string note;
        auto transport =
            make_mpi_transport(communicator_, {plan.slot_count, plan.seats, plan.slot_bytes}, choice, note);
        if (!note.empty()) { notes.push_back(fmt::format("shared memory is not used: {}", note)); }
        return transport;
    }

    /// As many threads as asked for or as there are cores, but their rooms must leave a buffer for reads that go on by
    /// themselves.
    std::unique_ptr<Placer> make_placer(Plan const& plan, TensorSpans tensors, Scalings scalings,
                                        LoadOptions const& options, std::string& reason) override {
        auto choice =
            choose_lanes(plan, options, [&] { return own_usable_cores(communicator_.layout().neighbours.size()); });
        auto const rooms = plan.direct_bytes / plan.direct_buffer_bytes;
        if (choice.lanes >= rooms) {
            choice = {rooms - 1, fmt::format("{}; --staging has room for no more", choice.reason)};
        }
        reason = choice.reason;
        return std::make_unique<Lanes>(choice.lanes, tensors, plan.direct_buffer_bytes, scalings, options.trace.get());
    }

    std::unique_ptr<ReaderSet> make_readers(Plan const& plan, LoadOptions const& options, Memory const&) override {
        auto const obstacle = uring_obstacle();
        std::vector<FileReader> readers;
        for (auto const& facts : plan.facts) { readers.push_back(choose_reader(facts, options.reader, obstacle)); }
        return std::make_unique<ReaderSet>(plan.files, std::move(readers), ReaderLimits{.depth = depth_of(options)});
    }

   private:
    Communicator& communicator_;
};

}  // namespace

std::unique_ptr<LoadBackend> make_host_backend(Communicator& communicator) {
    return std::make_unique<HostBackend>(communicator);
}

}  // namespace shardwise
