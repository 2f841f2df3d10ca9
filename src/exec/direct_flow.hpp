/// @file
/// Reads that concern this rank alone: from storage into a buffer and from there into place; from memory at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <shardwise/plan.hpp>

#include "exec/buffer_room.hpp"
#include "exec/landings.hpp"
#include "exec/placer.hpp"
#include "exec/work_ids.hpp"
#include "io/reader_set.hpp"

namespace shardwise {

/// Keeps as many reads under way as their memory holds; submits in plan order, places in order of completion.
class DirectFlow {
   public:
    /// @param buffers Plan::direct_bytes of memory; where readers copy by themselves, less of it is used.
    /// @param tensors where direct I/O may land; none: it goes through the buffers.
    DirectFlow(Plan const& plan, ReaderSet& readers, Placer& placer, std::span<std::byte> buffers, TensorSpans tensors);

    /// Submits the first reads that go on by themselves.
    void start();

    /// Submits reads while there is room; false if there was none or nothing is left to submit.
    bool feed();

    /// A read has come back.
    void on_read(std::uint32_t index, std::span<std::byte const> data);

    /// A read's bytes are in place.
    void on_placed(std::uint32_t index);

    bool is_done() const noexcept { return finished_ == plan_.direct.size(); }

    /// Reads submitted and not yet back.
    std::size_t reads_under_way() const noexcept { return reads_under_way_; }

    /// Of the buffers' memory, what was ever in use.
    std::uint64_t staging_bytes() const noexcept { return buffers_.used_bytes(); }

    /// That storage put into the tensors itself.
    std::uint64_t landed_bytes() const noexcept { return landed_bytes_; }

   private:
    /// A read that storage has been asked for, until its bytes are in place.
    struct UnderWay {
        std::span<std::byte> buffer;
        Landings landings;
    };
    static constexpr std::uint32_t kNone = ~std::uint32_t{0};

    bool submit_next();
    bool submit_to_lane(std::uint32_t index, InlineReader& reader);
    bool submit_to_storage(std::uint32_t index);
    bool can_land(std::uint32_t file) const noexcept;

    Plan const& plan_;
    ReaderSet& readers_;
    Placer& placer_;
    BufferRoom buffers_;
    std::vector<UnderWay> under_way_;
    std::vector<std::uint32_t> free_entries_;  ///< of under_way_
    std::vector<std::uint32_t> entry_of_;      ///< by read
    TensorSpans tensors_;
    std::uint64_t landed_bytes_ = 0;
    std::size_t submitted_ = 0;
    std::size_t finished_ = 0;
    std::size_t reads_under_way_ = 0;
};

}  // namespace shardwise
