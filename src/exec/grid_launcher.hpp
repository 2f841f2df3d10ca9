/// @file
/// Brings lists of copy blocks to a GPU and starts the kernels that carry them out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "convert/place_grid.hpp"
#include "device/accelerator.hpp"

namespace shardwise {

/// Collects blocks for one stream and launches many together: one copy of their descriptors, and one kernel.
class GridLauncher {
   public:
    /// Both outlive it.
    /// @param room_bytes for descriptors, of the host and of the GPU each; a block that falls into very many takes
    ///                   more.
    GridLauncher(Accelerator& accelerator, Stream& stream, std::uint64_t room_bytes);

    /// What is collected; whoever adds to it calls launch_if_full() now and then.
    PlaceGrid& grid() noexcept { return grid_; }

    void launch_if_full() {
        if (grid_.bytes().size() >= batch_bytes_ / 2) { launch(); }
    }

    /// Launches what is collected; waits if all batches are still on their way.
    void launch();

    /// Mark of the stream after all that was launched so far.
    std::uint64_t mark() const noexcept { return mark_; }

    /// Memory of the host for descriptors.
    std::uint64_t staging_bytes() const noexcept { return pinned_.bytes().size(); }

   private:
    static constexpr std::size_t kBatches = 4;

    void make_room(std::uint64_t batch_bytes);

    Accelerator& accelerator_;
    Stream& stream_;
    PlaceGrid grid_;
    std::uint64_t batch_bytes_ = 0;
    Memory pinned_;  ///< descriptors of kBatches batches
    Memory device_;
    std::array<std::uint64_t, kBatches> marks_ = {};  ///< by batch: when its descriptors are free again
    std::size_t next_ = 0;
    std::uint64_t mark_ = 0;
};

}  // namespace shardwise
