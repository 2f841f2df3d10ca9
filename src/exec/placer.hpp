/// @file
/// The seam between the flows of a load and what puts bytes in place: threads of the host, or kernels of a GPU.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <shardwise/error.hpp>
#include <shardwise/plan.hpp>

#include "io/reader.hpp"

namespace shardwise {

/// One piece of work: blocks out of bytes that were read or received; or, with a reader, read first and then placed.
struct PlaceJob {
    std::uint64_t id = 0;
    std::span<CopyBlock const> blocks = {};
    std::span<std::byte const> source = {};  ///< empty with a reader
    bool is_packed = false;                  ///< runs follow each other, as messages carry them
    InlineReader* reader = nullptr;
    FileRange range = {};     ///< what the reader is to read; block sources count from its first byte
    bool is_scattered = false;  ///< the reader brings runs straight into place
};

struct PlaceDone {
    std::uint64_t id = 0;
    std::optional<Error> error;
};

/// Puts pieces into the tensors of a rank, and packs what goes to other ranks. Called from one thread.
class Placer {
   public:
    virtual ~Placer() = default;

    /// Threads of this process that work, the caller's included.
    virtual std::size_t threads() const noexcept = 0;

    /// True if the caller must poll without pause for things to move on quickly.
    virtual bool is_polled() const noexcept = 0;

    /// The memory of the job stays until poll() says that it is done.
    virtual void submit(PlaceJob job) = 0;

    /// Appends finished jobs.
    virtual void poll(std::vector<PlaceDone>& done) = 0;

    /// Jobs submitted and not yet polled.
    virtual std::size_t under_way() const noexcept = 0;

    /// Copies the runs of @p blocks one after the other into @p packed.
    virtual void pack(std::span<CopyBlock const> blocks, std::span<std::byte const> source,
                      std::span<std::byte> packed) = 0;

    /// Readies the memory that @p blocks are going to be put into by somebody else.
    virtual void make_ready(std::span<CopyBlock const>) noexcept {}

    /// Readies the next stretch of the tensors' memory, for when there is nothing else to do; false if none is left.
    virtual bool make_next_ready() noexcept { return false; }

    /// Whoever has packed calls it before the transport starts to send.
    virtual void finish_packing() {}

    /// Waits until nothing is written any more. Does not throw for what has failed.
    virtual void drain() noexcept = 0;

    /// Memory of the host that it uses for itself.
    virtual std::uint64_t staging_bytes() const noexcept = 0;
};

}  // namespace shardwise
