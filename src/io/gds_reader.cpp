#include "io/gds_reader.hpp"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include <shardwise/error.hpp>

#include "io/gds_driver.hpp"
#include "io/pread_range.hpp"
#include "io/read_pool.hpp"
#include "io/transfer.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

constexpr std::uint64_t kDetourBytes = 1ULL << 20U;
constexpr int kMostInterruptions = 1000;

/// The way through the host, of one thread: pinned memory and a stream, made when they are first needed.
class Detour {
   public:
    explicit Detour(Accelerator& accelerator) : accelerator_(&accelerator) {}

    /// Brings @p range to where it belongs in @p into; it is there on return.
    void read(FileAccess const& access, FileRange const& range, std::span<std::byte> into, SharedCounters& counters) {
        if (!stream_) {
            pinned_ = accelerator_->allocate_pinned(kDetourBytes);
            stream_ = accelerator_->make_stream();
        }
        auto const first_page = align_down(range.begin, kSlotAlignment);
        for (auto at = range.begin; at < range.end();) {
            auto const most = kDetourBytes - at % kSlotAlignment;
            FileRange const piece = {range.file, at, std::min(most, range.end() - at)};
            stream_->copy(pread_range(access, piece, pinned_.bytes(), counters), into.data() + (at - first_page));
            finish(*stream_);
            at = piece.end();
        }
    }

   private:
    Accelerator* accelerator_;
    Memory pinned_;
    std::unique_ptr<Stream> stream_;
};

/// Throws if there is nothing to read at the beginning of @p range, because the file was cut.
void check_end(FileAccess const& access, FileRange const& range) {
    char byte = 0;
    if (::pread(access.fd(), &byte, 1, static_cast<off_t>(range.begin)) == 0) { check_outcome(access, range, 0); }
}

class CufileReader final : public GdsReader {
   public:
    CufileReader(GdsDriver const& driver, std::span<FileRecord const> files, Accelerator& accelerator,
                 std::span<Memory const> staging, GdsOptions options)
        : driver_(driver),
          options_(options),
          buffers_(register_all(driver, staging)),
          files_(files.size(),
                 [&driver, files](std::uint32_t file) { return std::make_unique<GdsFile>(driver, files[file]); }),
          detours_(make_detours(options.threads, accelerator)),
          paths_before_(driver.paths()),
          pool_(options.threads, [&accelerator] { accelerator.attach_thread(); }) {}

    bool has_room() const noexcept override { return pool_.has_room(); }

    void submit(ReadRequest const& request) override {
        pool_.submit(request.id, [this, range = request.range, into = request.into](std::size_t thread) {
            return read(range, into, detours_[thread]);
        });
    }

    void poll(std::vector<ReadResult>& results, Wait wait) override { pool_.poll(results, wait); }

    ReadCounters counters() const noexcept override {
        auto const host = by_host_.values();
        return {requests_ + host.requests, bytes_ + host.bytes, fallbacks_, host.bytes};
    }

    GdsPaths paths() const override {
        auto const now = driver_.paths();
        return {now.is_known, now.p2p_reads - paths_before_.p2p_reads, now.nvfs_reads - paths_before_.nvfs_reads,
                now.posix_reads - paths_before_.posix_reads, now.unaligned_reads - paths_before_.unaligned_reads};
    }

   private:
    static std::vector<GdsBuffer> register_all(GdsDriver const& driver, std::span<Memory const> staging) {
        if (!driver.probe().works()) { throw Error(Errc::unavailable, driver.probe().reason); }
        std::vector<GdsBuffer> buffers;
        for (auto const& memory : staging) {
            if (!memory.bytes().empty()) { buffers.emplace_back(driver, memory); }
        }
        return buffers;
    }

    static std::vector<Detour> make_detours(std::size_t threads, Accelerator& accelerator) {
        std::vector<Detour> detours;
        for (std::size_t i = 0; i < threads; ++i) { detours.emplace_back(accelerator); }
        return detours;
    }

    GdsBuffer const& buffer_of(std::span<std::byte const> into) const {
        auto const has = [&](GdsBuffer const& buffer) {
            auto const bytes = buffer.bytes();
            return into.data() >= bytes.data() && into.data() + into.size() <= bytes.data() + bytes.size();
        };
        auto const found = std::find_if(buffers_.begin(), buffers_.end(), has);
        if (found != buffers_.end()) { return *found; }
        throw Error(Errc::usage, "a request of GPUDirect Storage leaves the memory that is registered for it");
    }

    std::span<std::byte const> read(FileRange const& range, std::span<std::byte> into, Detour& detour) {
        Transfer transfer(range, into, true);
        auto const& buffer = buffer_of(into);
        if (range.size_bytes == 0) { return transfer.data(); }
        auto& file = files_[range.file];
        auto const refusal = file.is_given_up() ? words_of(file) : read_by_gds(file, transfer, buffer);
        if (!refusal) { return transfer.data(); }
        if (options_.fallback == GdsFallback::refused) {
            throw Error(Errc::io, fmt::format("read {} at {} for {} B by GPUDirect Storage: {}", file.access().path(),
                                              transfer.offset(), transfer.target().size(), *refusal));
        }
        ++fallbacks_;
        detour.read(file.access(), range, into, by_host_);
        return transfer.data();
    }

    static std::optional<std::string> words_of(GdsFile const& given_up) {
        auto const& probe = given_up.probe();
        return probe.works() ? "it failed on this file before" : probe.reason;
    }

    /// Nothing once the range is there, else what cuFile says against it.
    std::optional<std::string> read_by_gds(GdsFile& file, Transfer& transfer, GdsBuffer const& buffer) {
        for (int interruptions = 0;;) {
            auto const offset = transfer.offset();
            auto const outcome = file.read(offset, transfer.target(), buffer);
            ++requests_;
            auto const failure = failure_of(outcome);
            if (failure == CufileFailure::interrupt && ++interruptions < kMostInterruptions) { continue; }
            if (failure == CufileFailure::file) { file.give_up(); }
            if (failure != CufileFailure::none) { return cufile_sentence(outcome); }
            auto const got = static_cast<std::uint64_t>(outcome.value);
            bytes_ += got;
            if (transfer.advance(got)) { return std::nullopt; }
            if (transfer.offset() == offset) {
                check_end(file.access(), {transfer.file(), offset + got, transfer.target().size() - got});
                return fmt::format("no more than {} B come at a time", got);
            }
            interruptions = 0;
        }
    }

    GdsDriver const& driver_;
    GdsOptions options_;
    std::vector<GdsBuffer> buffers_;
    OpenedFiles<GdsFile> files_;
    std::vector<Detour> detours_;  ///< one a thread
    GdsPaths paths_before_;
    std::atomic<std::uint64_t> requests_ = 0;
    std::atomic<std::uint64_t> bytes_ = 0;
    std::atomic<std::uint64_t> fallbacks_ = 0;
    SharedCounters by_host_;
    ReadPool pool_;  // last: its threads use everything above
};

}  // namespace

std::unique_ptr<GdsReader> make_gds_reader(std::span<FileRecord const> files, Accelerator& accelerator,
                                           std::span<Memory const> staging, GdsOptions options) {
    accelerator.attach_thread();  // the driver takes the GPU of the thread that opens it
    auto const& driver = options.driver == nullptr ? gds_driver() : *options.driver;
    return std::make_unique<CufileReader>(driver, files, accelerator, staging, options);
}

}  // namespace shardwise
