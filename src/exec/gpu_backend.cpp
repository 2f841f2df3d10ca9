#include <algorithm>

#include <fmt/format.h>

#include "comm/nccl_transport.hpp"
#include "comm/staged_transport.hpp"
#include "device/host_memory.hpp"
#include "exec/device_placer.hpp"
#include "exec/lane_policy.hpp"
#include "exec/load_backend.hpp"
#include "exec/scales.hpp"
#include "exec/wave_messages.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

class GpuBackend final : public LoadBackend {
   public:
    GpuBackend(Communicator& communicator, std::shared_ptr<Accelerator> accelerator, GdsDriver const* gds)
        : communicator_(communicator), accelerator_(std::move(accelerator)), gds_(gds),
          exchange_(accelerator_->make_stream()) {}

    std::shared_ptr<Accelerator> accelerator() const override { return accelerator_; }

    std::vector<MemoryNeed> memory_needs(Plan const& plan) const override {
        auto const& layout = communicator_.layout();
        auto const node = layout.node_of[static_cast<std::size_t>(communicator_.rank())];
        auto const scales = scale_bytes(plan);
        return {
            {accelerator_->uuid(), accelerator_->describe(),
             align_up(plan.store_bytes, kSharedPage) + plan.totals.device_staging_bytes + scales,
             accelerator_->free_bytes()},
            {fmt::format("node {}", node), "this node", plan.totals.staging_bytes + 2 * scales,
             available_memory_bytes()},
        };
    }

    Memory allocate_arena(std::uint64_t size_bytes) override {
        auto const memory = accelerator_->allocate(align_up(size_bytes, kSharedPage), kDeviceAlignment);
        return {memory.bytes().first(size_bytes), memory.owner()};
    }
    Memory allocate_tensor(std::uint64_t size_bytes) override {
        return accelerator_->allocate(size_bytes, kDeviceAlignment);
    }
    Memory allocate_staging(std::uint64_t size_bytes) override { return accelerator_->allocate(size_bytes); }

    std::unique_ptr<Transport> make_transport(Plan const& plan, TransportChoice choice,
                                              std::vector<std::string>& notes) override {
        if (communicator_.size() == 1) { return make_self_transport(); }
        if (choice == TransportChoice::shm) {
            throw Error(Errc::unavailable, "--transport shm shares memory of the host; between GPUs it is nccl or mpi");
        }
        if (choice == TransportChoice::mpi) { return make_staged(plan); }
        auto const obstacle = nccl_obstacle(communicator_, *accelerator_, *exchange_);
        if (obstacle.empty()) { return make_nccl_transport(communicator_, *exchange_); }
        if (choice == TransportChoice::nccl) {
            throw Error(Errc::unavailable, fmt::format("--transport nccl: {}", obstacle)).on_rank(0);
        }
        notes.push_back(fmt::format("messages go through memory of the host: {}", obstacle));
        return make_staged(plan);
    }

    std::unique_ptr<Placer> make_placer(Plan const& plan, TensorSpans tensors, Scalings scalings,
                                        LoadOptions const& options, std::string& reason) override {
        reason = "the GPU places";
        return make_device_placer(*accelerator_, *exchange_, tensors, scalings, plan.descriptor_bytes,
                                  options.trace.get());
    }

    /// Memory for reading is a ring of pinned buffers as long as the GPU's, except where GPUDirect Storage needs none.
    std::unique_ptr<ReaderSet> make_readers(Plan const& plan, LoadOptions const& options,
                                            Memory const& staging) override {
        auto const choice = options.reader;
        auto const uring = uring_obstacle();
        auto const gds = gds_obstacles_for(plan, choice);
        std::vector<FileReader> readers;
        for (std::size_t file = 0; file < plan.files.size(); ++file) {
            try {
                readers.push_back(choose_reader(plan.facts[file], choice, uring, {true, gds[file]}));
            } catch (Error const& error) { throw error.while_(plan.files[file].path); }
        }
        auto const cores = own_usable_cores(communicator_.layout().neighbours.size());
        auto const fallback = choice == ReaderChoice::gds ? GdsFallback::refused : GdsFallback::allowed;
        GpuReading const gpu = {*accelerator_,
                                {staging},
                                {plan.direct_buffers, plan.request_bytes + kSlotAlignment},
                                {.fallback = fallback, .driver = gds_}};
        return std::make_unique<ReaderSet>(
            plan.files, std::move(readers),
            ReaderLimits{.depth = depth_of(options), .threads = gpu_pread_threads(cores)}, gpu);
    }

   private:
    std::unique_ptr<Transport> make_staged(Plan const& plan) {
        std::string ignored;
        auto messages = make_mpi_transport(communicator_, {}, TransportChoice::mpi, ignored);
        return make_staged_transport(std::move(messages), *accelerator_, *exchange_, message_bytes(plan));
    }

    /// By file. Trials are made only where their outcome counts.
    std::vector<std::string> gds_obstacles_for(Plan const& plan, ReaderChoice choice) {
        bool const counts = choice == ReaderChoice::automatic || choice == ReaderChoice::gds;
        return counts ? gds_obstacles(plan.files, *accelerator_, gds_) : std::vector<std::string>(plan.files.size());
    }

    Communicator& communicator_;
    std::shared_ptr<Accelerator> accelerator_;
    GdsDriver const* gds_;
    std::unique_ptr<Stream> exchange_;
};

}  // namespace

std::unique_ptr<LoadBackend> make_gpu_backend(Communicator& communicator, std::shared_ptr<Accelerator> accelerator,
                                              GdsDriver const* gds) {
    return std::make_unique<GpuBackend>(communicator, std::move(accelerator), gds);
}

}  // namespace shardwise
