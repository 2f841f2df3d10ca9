/// @file
/// What one rank reads, sends, receives and places: pure data, computed from the catalog alone, the same way
/// everywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <boost/container/small_vector.hpp>

#include <shardwise/architecture.hpp>
#include <shardwise/back_ends.hpp>
#include <shardwise/block_grid.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/dtype.hpp>
#include <shardwise/expectation.hpp>
#include <shardwise/mesh.hpp>
#include <shardwise/placement.hpp>
#include <shardwise/profile.hpp>
#include <shardwise/shape.hpp>

namespace shardwise {

/// How the bytes of one stored tensor reach the ranks that need them.
enum class Strategy : std::uint8_t {
    direct,       ///< every rank reads its own ranges
    cooperative,  ///< every rank reads an equal stripe, then pieces are exchanged
    shared,       ///< as cooperative, for bytes that every rank needs whole
};
char const* to_string(Strategy strategy) noexcept;

/// What the caller wants: auto picks by cost for each tensor.
enum class StrategyChoice : std::uint8_t { automatic, direct, cooperative };

/// Instead of an index: a tensor of another pipeline stage.
inline constexpr std::uint32_t kElsewhere = ~std::uint32_t{0};

/// A loop over runs of bytes.
struct CopyLoop {
    std::uint64_t count = 1;
    std::uint64_t source_stride = 0;  ///< bytes
    std::uint64_t target_stride = 0;  ///< bytes
    bool operator==(CopyLoop const&) const = default;
};

/// Instead of an index: codes without scales.
inline constexpr std::uint32_t kUnscaled = ~std::uint32_t{0};

/// The type that elements have and the one that they get on the way into place.
struct ElementCast {
    DType from = DType::u8;
    DType to = DType::u8;               ///< the same: bytes are moved as they are
    std::uint32_t scaling = kUnscaled;  ///< codes to be dequantized: index into Plan::scalings
    std::uint64_t target_step = 0;      ///< bytes from one element of a run to the next in the target; unused if moved
    std::uint64_t first_element = 0;    ///< with a scaling: number in its stored tensor of the block's first element
    bool is_move() const noexcept { return from == to; }
    bool operator==(ElementCast const&) const = default;
};

/// Evenly spaced runs of bytes and where they go: `for each loop, outermost first: copy run_bytes`.
/// Loops are ordered by source stride and do not overlap in the source. With a cast, sources count bytes of the stored
/// type and targets those of the new one, and a run is a whole number of elements and of bytes.
struct CopyBlock {
    std::uint32_t tensor = 0;       ///< index into Plan::tensors; kElsewhere in what is sent on but not held
    std::uint64_t source = 0;       ///< first byte, relative to what the block is said to copy from
    std::uint64_t target = 0;       ///< first byte inside the tensor's local storage
    std::uint64_t run_bytes = 0;
    boost::container::small_vector<CopyLoop, 1> loops;  ///< most blocks have one at most, and plans many blocks
    ElementCast cast = {};

    /// Bytes taken from the source in all.
    std::uint64_t bytes() const noexcept;

    /// Bytes put into the target in all.
    std::uint64_t target_bytes() const noexcept;

    std::uint64_t runs() const noexcept { return run_bytes == 0 ? 0 : bytes() / run_bytes; }

    /// Bytes from the first one read to the last, holes included.
    std::uint64_t source_span() const noexcept;

    /// Bytes of the tensor from the first one put there to the last, holes included.
    std::uint64_t target_span() const noexcept;

    bool operator==(CopyBlock const&) const = default;
};

/// Bytes [begin, begin + size_bytes) of a file of the catalog.
struct FileRange {
    std::uint32_t file = 0;
    std::uint64_t begin = 0;
    std::uint64_t size_bytes = 0;
    std::uint64_t end() const noexcept { return begin + size_bytes; }
    bool operator==(FileRange const&) const = default;
};

/// A part of a list of blocks.
struct BlockRange {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    bool operator==(BlockRange const&) const = default;
};

/// One read that only this rank needs. Sources of its blocks count from the range's first byte.
struct DirectRead {
    FileRange range;
    BlockRange blocks;        ///< into Plan::direct_blocks
    bool is_scattered = false;  ///< of a cached file: runs are read straight into place, what lies between them not
};

/// One read into this rank's slot of a wave. File byte `range.begin` lands at `slot_offset`, and both are the same
/// modulo kSlotAlignment, so that direct I/O can land there.
struct StagedRead {
    FileRange range;
    std::uint64_t slot_offset = 0;
};

/// Pieces between this rank's slot, or another's, and a rank's tensors. Sources count from the start of the slot of the
/// rank that read. On the wire the runs of the blocks follow each other without gaps, in order; in a shared wave the
/// reader's whole stripe comes as it lies in its slot.
struct Delivery {
    std::uint32_t peer = 0;  ///< receive: the rank that read; send: the first receiver, of one in each replica
    BlockRange blocks;       ///< into Wave::blocks
    std::uint32_t seat = 0;  ///< receive: where a neighbour that read finds room in the wave's outboxes
    std::uint64_t bytes = 0;       ///< of the blocks
    std::uint64_t wire_bytes = 0;  ///< of the message
};

/// Bytes that are read once by all ranks of the stages that need them and then exchanged. Every rank has the same
/// number of waves; those with other stages' bytes are empty.
struct Wave {
    std::vector<StagedRead> reads;
    std::vector<Delivery> receives;  ///< in order of peer; may include this rank itself
    std::vector<Delivery> sends;     ///< in order of first receiver; includes this rank's own if other replicas exist
    std::vector<CopyBlock> blocks;   ///< of both
    bool is_shared = false;          ///< every rank of the job needs every byte: stripes are broadcast, sends are empty
    std::uint64_t stripe_bytes = 0;  ///< of a shared wave: from the start of this rank's slot, what all others get
    std::uint32_t seat = 0;          ///< of this rank if it reads: no other one that reads in this wave has it

    std::span<CopyBlock const> blocks_of(Delivery const& delivery) const {
        return std::span(blocks).subspan(delivery.blocks.first, delivery.blocks.count);
    }
};

/// The scales that this rank needs of one tensor of them.
struct Scaling {
    FileRange range;
    DType dtype = DType::f32;
    std::uint64_t first_scale = 0;  ///< number of the first one in the range
    BlockGrid grid;
};

/// One tensor as this rank holds it.
struct PlannedTensor {
    std::string name;
    std::vector<std::string> aliases;
    DType dtype = DType::u8;
    Shape global_shape;
    Shape local_shape;
    Placement placement;
    std::uint32_t priority = 0;      ///< index of its class in PlanOptions::priority; after the last one for the rest
    std::uint64_t store_offset = 0;  ///< in the rank's store, a multiple of kStoreAlignment
    std::uint64_t size_bytes = 0;    ///< of the local shape
    std::uint64_t global_bytes = 0;
};

/// Bytes and counts over a plan, before anything is read.
struct PlanTotals {
    std::uint64_t needed_bytes = 0;     ///< stored bytes that this rank's tensors are made of
    std::uint64_t read_bytes = 0;       ///< this rank asks storage for
    std::uint64_t over_read_bytes = 0;  ///< of these, bytes between runs that nobody needs
    std::uint64_t requests = 0;
    std::uint64_t received_bytes = 0;   ///< from other ranks
    std::uint64_t messages = 0;         ///< deliveries from other ranks
    std::uint64_t staging_bytes = 0;    ///< bound of this rank's staging in memory of the host
    std::uint64_t device_staging_bytes = 0;  ///< the same of its GPU; 0 without one
    std::uint64_t store_bytes = 0;
};

/// Bytes that took each strategy, over the whole checkpoint.
struct StrategyBytes {
    std::uint64_t direct = 0;
    std::uint64_t cooperative = 0;
    std::uint64_t shared = 0;
};

/// Slots and tensors begin at multiples of these.
inline constexpr std::uint64_t kSlotAlignment = 4096;
inline constexpr std::uint64_t kStoreAlignment = 256;

/// What the system says about a file before it is read. The same on every rank: the worst over all nodes.
struct FileFacts {
    double cached_fraction = 0;   ///< of its pages that lie in the page cache
    bool is_memory = false;       ///< tmpfs or ramfs: its pages are the storage
    bool allows_direct = false;   ///< opened with O_DIRECT, and an aligned read came back
    std::string file_system;      ///< "ext4", "nfs", ...
    bool is_network = false;      ///< servers of a network hold it
    /// Memory that direct I/O reads into begins at a multiple of it. Example: 4 on NVMe
    std::uint64_t memory_alignment = kSlotAlignment;

    /// Cached enough to be read from the page cache.
    bool is_cached() const noexcept { return is_memory || cached_fraction >= 0.9; }
};

/// How the parameters of a checkpoint differ from those that its model is expected to have.
struct ParameterDifferences {
    /// Type and shape as they are and as they were expected. Example: "BF16 [16, 8]".
    struct Mismatch {
        std::string name;
        std::string found;
        std::string expected;
    };

    std::vector<std::string> missing;
    std::vector<std::string> unexpected;
    std::vector<Mismatch> mismatched;

    bool is_empty() const noexcept { return missing.empty() && unexpected.empty() && mismatched.empty(); }
};

/// Everything one rank does. Tensors are in plan order: by priority, then by name.
struct Plan {
    Mesh mesh;
    std::int64_t rank = 0;
    Device device = Device::host;
    std::string architecture;
    std::string plan_name;
    std::string digest;         ///< of what all ranks must agree on; 32 hexadecimal digits
    std::string source_digest;  ///< of the catalog: names, types, shapes and places

    std::vector<FileRecord> files;
    std::vector<FileFacts> facts;  ///< one a file
    std::vector<PlannedTensor> tensors;    ///< those of this rank's stage
    std::vector<PlannedTensor> elsewhere;  ///< those of other stages only; neither local shape nor place is set
    std::uint64_t store_bytes = 0;

    std::vector<DirectRead> direct;
    std::vector<CopyBlock> direct_blocks;
    std::vector<Wave> waves;
    std::vector<Scaling> scalings;    ///< read before anything else
    std::uint32_t slot_count = 0;     ///< waves that may be exchanged or are about to; stripes that a rank reads ahead
    std::uint32_t exchanges_at_once = 1;  ///< waves under exchange at the same time, where the transport can
    std::uint64_t slot_bytes = 0;     ///< of one rank's slot, and of one seat in an outbox
    std::uint32_t seats = 0;          ///< ranks that read in one wave at most
    std::uint64_t request_bytes = 0;  ///< no read is longer
    std::uint32_t files_at_once = 1;  ///< that the ranks' reads are dealt over
    std::string files_at_once_reason;
    std::uint32_t direct_buffers = 0;       ///< direct reads under way at the most
    std::uint64_t direct_buffer_bytes = 0;  ///< room of the longest one, whole pages
    std::uint64_t direct_bytes = 0;         ///< memory for those under way
    std::uint64_t descriptor_bytes = 0;  ///< with a GPU: memory for what each of its two streams is told to do

    StrategyBytes strategy_bytes;
    PlanTotals totals;
    ParameterDifferences differences;  ///< of the whole model, the same on every rank
    std::vector<std::string> warnings;

    std::span<CopyBlock const> blocks_of(DirectRead const& read) const {
        return std::span(direct_blocks).subspan(read.blocks.first, read.blocks.count);
    }
};

struct PlanOptions {
    Mesh mesh;
    Device device = Device::host;  ///< where the tensors are to lie
    std::string plan = "tp";
    bool replicate_kv_heads = false;
    bool strict_divisible = false;
    Expectation expected; ///< the parameters wanted, others are left out; empty: those that the architecture states
    bool strict = false;  ///< refuse a checkpoint whose parameters differ from those expected
    std::vector<std::string> include;
    std::vector<std::string> exclude;
    /// Shell patterns of names, or presets: @embedding, @attention, @lm_head, @first-layers, @first-layers=N. Tensors
    /// of an earlier one come first.
    std::vector<std::string> priority;
    StrategyChoice strategy = StrategyChoice::automatic;
    MachineProfile profile;      ///< that automatic goes by
    std::uint32_t files_at_once = 0;  ///< to deal reads over; 0: as file systems and profile suggest
    std::optional<DType> dtype;  ///< floating-point type of parameters that do not keep theirs; as stored if none
    bool dequantizes = false;    ///< quantized tensors are held as the numbers they stand for
    /// Bound of a rank's memory beside its tensors; with a GPU, of the host's and of the GPU's each
    std::uint64_t staging_bytes = 256ULL << 20U;
};

/// The plan of @p rank.
/// @param facts one entry a file of the catalog, as probe_files gives them, or empty: nothing is cached.
/// @throws Error input as map_parameters; Error memory naming the option when the staging budget is too small.
Plan make_plan(Catalog const& catalog, Architecture const& architecture, PlanOptions const& options, std::int64_t rank,
               std::span<FileFacts const> facts = {});

}  // namespace shardwise
