/// @file
/// Carrying a plan out: every rank reads, exchanges and places until it holds its tensors.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <shardwise/back_ends.hpp>
#include <shardwise/context.hpp>
#include <shardwise/plan.hpp>
#include <shardwise/trace.hpp>

namespace shardwise {

/// What this rank has done so far.
struct Progress {
    std::uint64_t placed_bytes = 0;
    std::uint64_t total_bytes = 0;
};

/// How the memory of a rank's tensors is taken.
enum class Allocation : std::uint8_t {
    arena,    ///< all tensors in one stretch: one call, one handle for other processes
    tensors,  ///< each for itself, so that each can be given back by itself
};

/// How many threads copy where nobody says it: never more than the cores that the rank may use, nor than 4.
enum class LanePolicy : std::uint8_t {
    by_bytes,       ///< one for every 16 MiB that the rank holds, however they are spread over files
    file_adaptive,  ///< one for every 100 MiB of the checkpoint's files, and no more than files
};

struct LoadOptions {
    ReaderChoice reader = ReaderChoice::automatic;
    TransportChoice transport = TransportChoice::automatic;
    std::size_t lanes = 0;  ///< threads that copy, this one included; 0: as the policy says
    LanePolicy lane_policy = LanePolicy::by_bytes;
    std::size_t depth = 0;            ///< requests under way with io_uring; 0: 64
    std::shared_ptr<TraceLog> trace;  ///< gets what this rank does
    Allocation allocation = Allocation::arena;
    std::optional<int> gpu;  ///< of those visible, with a plan for GPUs; nothing: by the rank's number on its node
    std::function<void(Progress const&)> on_progress;  ///< called now and then from next() and wait()
};

/// Where a rank's time went; the parts sum to the time between spawn and the end.
struct LoadSeconds {
    double read = 0;      ///< waiting for storage
    double exchange = 0;  ///< waiting for other ranks
    double place = 0;     ///< copying into place
    double total = 0;
};

/// Bytes through one reader.
struct ReaderBytes {
    std::string reader;
    std::uint64_t bytes = 0;
    std::uint64_t requests = 0;
};

/// Why a file was read the way it was.
struct FileChoice {
    std::string path;
    std::string reader;
    std::string reason;
};

/// What a rank did, counted while it did it.
struct LoadReport {
    LoadSeconds seconds;
    std::uint64_t read_bytes = 0;       ///< from storage or the page cache, over-read included
    std::uint64_t landed_bytes = 0;     ///< of these, what direct I/O put into tensors itself; the rest was copied
    std::uint64_t requests = 0;
    std::uint64_t exchanged_bytes = 0;  ///< taken from what other ranks read
    std::uint64_t placed_bytes = 0;
    std::uint64_t staging_bytes = 0;    ///< staging memory of the host this rank had mapped
    std::uint64_t device_staging_bytes = 0;  ///< the same of its GPU
    std::uint64_t device_peak_bytes = 0;     ///< of the GPU's memory, tensors included, at the most
    std::string device = "host";             ///< or which GPU. Example: "GPU 0 (NVIDIA H100 80GB HBM3)"
    std::string transport;
    std::size_t lanes = 0;                 ///< threads that copied
    std::string lanes_reason;              ///< why as many. Example: "by_bytes: 4 at most"
    double first_tensor_seconds = 0;       ///< until the first tensor was complete on this rank
    std::vector<double> priority_seconds;  ///< by class: until all of its tensors on this rank were; 0: it has none
    std::vector<ReaderBytes> readers;
    std::vector<FileChoice> files;
    std::vector<std::string> notes;     ///< fallbacks, one sentence each
};

/// One tensor a rank holds. The bytes stay while any handle to their store does.
struct HeldTensor {
    PlannedTensor const* info = nullptr;  ///< belongs to the store
    std::span<std::byte> bytes;           ///< row-major, begins at a multiple of kStoreAlignment; maybe a GPU's memory
    std::shared_ptr<void const> owner;
};

/// All tensors of a rank, in plan order: on huge pages of the host, or in a GPU's memory. Cheap to copy; copies share
/// the memory.
class ParameterStore {
   public:
    struct Data;

    ParameterStore() = default;
    explicit ParameterStore(std::shared_ptr<Data const> data) : data_(std::move(data)) {}

    std::size_t size() const noexcept;
    HeldTensor operator[](std::size_t index) const;

    /// Whose memory the tensors' bytes are.
    Device device() const noexcept;

    /// The tensor with bytes that the host may read: the one held, or a copy of it. One thread at a time.
    /// @throws Error memory; Error io when the GPU fails.
    HeldTensor on_host(std::size_t index) const;

    /// By name, or by the name of a tied parameter.
    std::optional<HeldTensor> find(std::string_view name) const;

    /// Shardwise's own side of it.
    Data const* data() const noexcept { return data_.get(); }

   private:
    std::shared_ptr<Data const> data_;
};

/// A load under way. Reads go on by themselves; copying and exchange go on inside next() and wait(), on the caller's
/// thread, because MPI is used from one thread only.
class Materialization {
   public:
    class Engine;

    explicit Materialization(std::unique_ptr<Engine> engine);

    /// Dropped before wait(), a load is cancelled: no rank is left waiting for this one.
    Materialization(Materialization&&) noexcept;
    Materialization& operator=(Materialization&&) noexcept;
    ~Materialization();

    /// The next tensor in plan order, as soon as it is complete on this rank; nothing after the last one, once all
    /// ranks have theirs.
    /// @throws Error the same on every rank when any rank fails.
    std::optional<HeldTensor> next();

    /// Finishes the load on all ranks (collective) and gives the store.
    /// @throws Error the same on every rank when any rank fails.
    ParameterStore wait();

    /// Stops the load on all ranks; they end with Error peer.
    void cancel();

    LoadReport const& report() const noexcept;

   private:
    std::unique_ptr<Engine> engine_;
};

/// Looks at every file once a node and shares what is found. Collective.
std::vector<FileFacts> probe_files(Catalog const& catalog, Context& context);

/// Starts to load what @p plan says and returns at once. Collective; every rank gives its own plan, and they are
/// compared by digest before anything is read.
/// @throws Error peer if plans differ; memory if the node cannot hold the stores; unavailable for a back end that was
///         asked for and cannot be had.
Materialization spawn_tp_materialize(Plan const& plan, Context& context, LoadOptions options = {});

}  // namespace shardwise
