#include "exec/device_placer.hpp"

#include <cstring>
#include <deque>
#include <vector>

#include "exec/grid_launcher.hpp"

namespace shardwise {
namespace {

/// Scales in the memory of an accelerator, with what else belongs to them.
class DeviceScales {
   public:
    DeviceScales(Accelerator& accelerator, Stream& stream, Scalings scalings) {
        std::uint64_t bytes = 0;
        for (auto const& scaling : scalings) { bytes += scaling.scales.bytes.size(); }
        auto const pinned = accelerator.allocate_pinned(bytes);
        memory_ = accelerator.allocate(bytes);
        std::uint64_t at = 0;
        for (auto scaling : scalings) {
            auto const size = scaling.scales.bytes.size();
            std::memcpy(pinned.bytes().data() + at, scaling.scales.bytes.data(), size);
            scaling.scales.bytes = memory_.bytes().subspan(at, size);
            scalings_.push_back(scaling);
            at += size;
        }
        stream.copy(pinned.bytes(), memory_.bytes().data());
        finish(stream);
    }

    BlockScaling const* of(CopyBlock const& block) const noexcept {
        return block.cast.scaling == kUnscaled ? nullptr : &scalings_[block.cast.scaling];
    }

   private:
    Memory memory_;
    std::vector<BlockScaling> scalings_;
};

class DevicePlacer final : public Placer {
   public:
    DevicePlacer(Accelerator& accelerator, Stream& exchange, TensorSpans tensors, Scalings scalings,
                 std::uint64_t descriptor_bytes, TraceLog* log)
        : log_(log),
          tensors_(tensors),
          stream_(accelerator.make_stream()),
          placing_(accelerator, *stream_, descriptor_bytes),
          packing_(accelerator, exchange, descriptor_bytes),
          scales_(accelerator, *stream_, scalings) {}

    ~DevicePlacer() override { drain(); }

    std::size_t threads() const noexcept override { return 1; }
    bool is_polled() const noexcept override { return true; }

    /// Launched by the next poll(), together with what else is submitted until then.
    void submit(PlaceJob job) override {
        auto const* packed = job.source.data();
        for (auto const& block : job.blocks) {
            auto* const target = tensors_[block.tensor].data();
            if (job.is_packed) {
                packed += placing_.grid().add_unpack(block, packed, target, scales_.of(block));
            } else {
                placing_.grid().add_place(block, job.source.data(), target, scales_.of(block));
            }
            placing_.launch_if_full();
        }
        collected_.push_back({job.id, job.source.size()});
    }

    void poll(std::vector<PlaceDone>& done) override {
        placing_.launch();
        for (auto& job : collected_) {
            job.mark = placing_.mark();
            job.begin = log_ == nullptr ? 0 : log_->now();
            launched_.push_back(job);
        }
        collected_.clear();
        while (!launched_.empty() && stream_->has_passed(launched_.front().mark)) {
            auto const& job = launched_.front();
            if (log_ != nullptr) { log_->add({"GPU", "place", job.begin, log_->now(), job.bytes}); }
            done.push_back({job.id, {}});
            launched_.pop_front();
        }
    }

    std::size_t under_way() const noexcept override { return collected_.size() + launched_.size(); }

    void pack(std::span<CopyBlock const> blocks, std::span<std::byte const> source,
              std::span<std::byte> packed) override {
        auto* next = packed.data();
        for (auto const& block : blocks) {
            next += packing_.grid().add_pack(block, source.data(), next);
            packing_.launch_if_full();
        }
    }

    void finish_packing() override { packing_.launch(); }

    void drain() noexcept override {
        try {
            placing_.launch();
            wait_for(*stream_, placing_.mark());
        } catch (Error const&) {}  // it has failed: nothing is written any more
        collected_.clear();
        launched_.clear();
    }

    std::uint64_t staging_bytes() const noexcept override {
        return placing_.staging_bytes() + packing_.staging_bytes();
    }

   private:
    struct Job {
        std::uint64_t id;
        std::uint64_t bytes;
        std::uint64_t mark = 0;
        double begin = 0;  ///< for the log
    };

    TraceLog* log_;
    TensorSpans tensors_;
    std::unique_ptr<Stream> stream_;
    GridLauncher placing_;
    GridLauncher packing_;
    DeviceScales scales_;
    std::vector<Job> collected_;  ///< jobs whose last blocks are not launched yet
    std::deque<Job> launched_;
};

}  // namespace

std::unique_ptr<Placer> make_device_placer(Accelerator& accelerator, Stream& exchange, TensorSpans tensors,
                                           Scalings scalings, std::uint64_t descriptor_bytes, TraceLog* log) {
    return std::make_unique<DevicePlacer>(accelerator, exchange, tensors, scalings, descriptor_bytes, log);
}

}  // namespace shardwise
