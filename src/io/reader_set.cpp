#include "io/reader_set.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "util/checked.hpp"

namespace shardwise {
namespace {

std::string percent(double fraction) { return fmt::format("{:.0f} % cached", fraction * 100); }

FileReader choose_uncached(FileFacts const& facts, std::string const& uring_reason) {
    auto const how = facts.allows_direct ? "direct I/O" : "no direct I/O there";
    if (uring_reason.empty()) {
        return {ReaderKind::uring, facts.allows_direct,
                fmt::format("{}, {}, {}", percent(facts.cached_fraction), facts.file_system, how)};
    }
    return {ReaderKind::pread, facts.allows_direct,
            fmt::format("{}, {}, {}; {}", percent(facts.cached_fraction), facts.file_system, how, uring_reason)};
}

/// Of a file that is read into the memory of a GPU: real GPUDirect Storage, or pinned memory.
FileReader choose_for_gpu(FileFacts const& facts, ReaderChoice choice, std::string const& uring_reason,
                          std::string const& gds_obstacle) {
    bool const wants_direct = facts.allows_direct && !facts.is_cached();
    switch (choice) {
        case ReaderChoice::mmap:
            throw Error(Errc::unavailable, "--io mmap: the memory of a GPU cannot be filled from mapped files");
        case ReaderChoice::gds:
            if (!gds_obstacle.empty()) { throw Error(Errc::unavailable, fmt::format("--io gds: {}", gds_obstacle)); }
            return {ReaderKind::gds, true, "asked for"};
        case ReaderChoice::pread: return {ReaderKind::pread, wants_direct, "asked for, through pinned memory"};
        case ReaderChoice::uring: break;
        case ReaderChoice::automatic:
            if (!gds_obstacle.empty()) { break; }
            return {ReaderKind::gds, true,
                    fmt::format("{}, {}, GPUDirect Storage", percent(facts.cached_fraction), facts.file_system)};
    }
    auto reader = choose_reader(facts, choice, uring_reason);
    if (reader.kind == ReaderKind::cached) { reader.kind = ReaderKind::pread; }
    reader.reason += ", through pinned memory";
    if (choice == ReaderChoice::automatic) { reader.reason += fmt::format(": GDS: {}", gds_obstacle); }
    return reader;
}

}  // namespace

char const* to_string(ReaderKind kind) noexcept {
    switch (kind) {
        case ReaderKind::cached: return "pread";
        case ReaderKind::mmap: return "mmap";
        case ReaderKind::uring: return "uring";
        case ReaderKind::pread: return "pread";
        case ReaderKind::gds: return "gds";
    }
    return "unknown";
}

FileReader choose_reader(FileFacts const& facts, ReaderChoice choice, std::string const& uring_reason,
                         DeviceReading const& device) {
    if (device.is_gpu) { return choose_for_gpu(facts, choice, uring_reason, device.gds_obstacle); }
    bool const wants_direct = facts.allows_direct && !facts.is_cached();
    switch (choice) {
        case ReaderChoice::mmap: return {ReaderKind::mmap, false, "asked for"};
        case ReaderChoice::pread:
            return {facts.is_cached() ? ReaderKind::cached : ReaderKind::pread, wants_direct, "asked for"};
        case ReaderChoice::uring:
            if (!uring_reason.empty()) { throw Error(Errc::unavailable, fmt::format("--io uring: {}", uring_reason)); }
            return {ReaderKind::uring, wants_direct, "asked for"};
        case ReaderChoice::gds:
            throw Error(Errc::unavailable, "--io gds: it reads into the memory of a GPU only, with --device cuda");
        case ReaderChoice::automatic: break;
    }
    if (facts.is_memory) { return {ReaderKind::cached, false, fmt::format("{} is memory", facts.file_system)}; }
    if (facts.is_cached()) { return {ReaderKind::cached, false, percent(facts.cached_fraction)}; }
    return choose_uncached(facts, uring_reason);
}

std::size_t gpu_pread_threads(std::size_t cores) noexcept {
    constexpr std::size_t kMost = 8;
    return std::clamp<std::size_t>(cores, 1, kMost);
}

ReaderSet::ReaderSet(std::span<FileRecord const> files, std::vector<FileReader> choices, ReaderLimits limits,
                     std::optional<GpuReading> const& gpu)
    : choices_(std::move(choices)) {
    if (gpu) {
        make_gpu_readers(files, limits, *gpu);
    } else {
        make_host_readers(files, limits);
    }
}

bool ReaderSet::uses(ReaderKind kind) const noexcept {
    return std::any_of(choices_.begin(), choices_.end(), [&](FileReader const& choice) { return choice.kind == kind; });
}

std::unique_ptr<Reader> ReaderSet::make_host_reader(ReaderKind kind, std::span<FileRecord const> files,
                                                    ReaderLimits limits) const {
    if (!uses(kind)) { return nullptr; }
    std::vector<bool> wants_direct;
    for (auto const& choice : choices_) { wants_direct.push_back(choice.is_direct); }
    return kind == ReaderKind::uring ? make_uring_reader(files, std::move(wants_direct), limits.depth)
                                     : make_pread_reader(files, std::move(wants_direct), limits.threads);
}

void ReaderSet::make_host_readers(std::span<FileRecord const> files, ReaderLimits limits) {
    auto const at = [](ReaderKind kind) { return static_cast<std::size_t>(kind); };
    if (uses(ReaderKind::cached)) { inline_readers_[at(ReaderKind::cached)] = make_cached_reader(files); }
    if (uses(ReaderKind::mmap)) { inline_readers_[at(ReaderKind::mmap)] = make_mmap_reader(files); }
    for (auto const kind : {ReaderKind::uring, ReaderKind::pread}) {
        readers_[at(kind)] = make_host_reader(kind, files, limits);
    }
}

void ReaderSet::make_gpu_readers(std::span<FileRecord const> files, ReaderLimits limits, GpuReading const& gpu) {
    if (uses(ReaderKind::cached) || uses(ReaderKind::mmap)) {
        throw Error(Errc::usage, "files cannot be read in place into the memory of a GPU");
    }
    if (uses(ReaderKind::gds)) { make_gds(files, gpu); }
    std::size_t const pinned_kinds = (uses(ReaderKind::uring) ? 1U : 0U) + (uses(ReaderKind::pread) ? 1U : 0U);
    for (auto const kind : {ReaderKind::uring, ReaderKind::pread}) {
        auto inner = make_host_reader(kind, files, limits);
        if (!inner) { continue; }
        auto const buffers = ceil_div(gpu.ring.buffers, pinned_kinds);
        pinned_bytes_ += buffers * gpu.ring.buffer_bytes;
        readers_[static_cast<std::size_t>(kind)] =
            make_uploading_reader(std::move(inner), gpu.accelerator, {buffers, gpu.ring.buffer_bytes});
    }
}

void ReaderSet::make_gds(std::span<FileRecord const> files, GpuReading const& gpu) {
    try {
        readers_[static_cast<std::size_t>(ReaderKind::gds)] =
            make_gds_reader(files, gpu.accelerator, gpu.staging, gpu.gds);
    } catch (Error const& error) {
        if (error.code() != Errc::unavailable) { throw; }
        if (gpu.gds.fallback == GdsFallback::refused) { throw error.while_("--io gds"); }
        for (auto& choice : choices_) {
            if (choice.kind != ReaderKind::gds) { continue; }
            choice.kind = ReaderKind::pread;
            choice.reason += fmt::format(", through pinned memory after all: GDS: {}", error.what());
        }
    }
}

bool ReaderSet::has_room(std::uint32_t file) const noexcept {
    auto const& reader = readers_[index_of(file)];
    return !reader || reader->has_room();
}

void ReaderSet::note(ReadRequest const& request) {
    auto const& range = request.range;
    noted_[request.id] = {"reads",          to_string(choices_[range.file].kind),
                          log_->now(),      0,
                          range.size_bytes, fmt::format("file {} [{}, {})", range.file, range.begin, range.end())};
}

void ReaderSet::note_ends(std::span<ReadResult const> results) {
    for (auto const& result : results) {
        auto const noted = noted_.find(result.id);
        if (noted == noted_.end()) { continue; }
        noted->second.end = log_->now();
        log_->add(std::move(noted->second));
        noted_.erase(noted);
    }
}

void ReaderSet::submit(ReadRequest const& request) {
    if (log_ != nullptr) { note(request); }
    auto* const in_memory = inline_reader_of(request.range.file);
    if (in_memory == nullptr) { return readers_[index_of(request.range.file)]->submit(request); }
    ReadResult result{request.id, {}, {}};
    try {
        auto const room = request.into.subspan(request.range.begin % kSlotAlignment, request.range.size_bytes);
        auto const data = in_memory->read(request.range, room);
        if (data.data() != room.data()) { std::memcpy(room.data(), data.data(), data.size()); }
        in_memory->release(data, data.size());
        result.data = room;
    } catch (Error const& error) { result.error = error; }
    finished_.push_back(std::move(result));
}

void ReaderSet::start() {
    for (auto const& reader : readers_) {
        if (reader) { reader->start(); }
    }
}

void ReaderSet::poll(std::vector<ReadResult>& results, Wait wait) {
    auto const before = results.size();
    poll_readers(results, wait);
    if (log_ != nullptr) { note_ends(std::span(results).subspan(before)); }
}

void ReaderSet::poll_readers(std::vector<ReadResult>& results, Wait wait) {
    std::move(finished_.begin(), finished_.end(), std::back_inserter(results));
    finished_.clear();
    for (auto const& reader : readers_) {
        if (reader) { reader->poll(results, Wait::no); }
    }
    if (wait == Wait::no) { return; }
    for (auto const& reader : readers_) {
        if (reader && results.empty()) { reader->poll(results, Wait::briefly); }
    }
}

std::array<ReadCounters, kReaderKinds> ReaderSet::counters() const {
    std::array<ReadCounters, kReaderKinds> counters = {};
    for (std::size_t i = 0; i < kReaderKinds; ++i) {
        if (readers_[i]) { counters[i] = readers_[i]->counters(); }
        if (inline_readers_[i]) { counters[i] = inline_readers_[i]->counters(); }
    }
    return counters;
}

std::optional<GdsPaths> ReaderSet::gds_paths() const {
    auto const* const reader = readers_[static_cast<std::size_t>(ReaderKind::gds)].get();
    if (reader == nullptr) { return std::nullopt; }
    auto const* const gds = dynamic_cast<GdsReader const*>(reader);  // not if a test has put another in its place
    return gds == nullptr ? GdsPaths{} : gds->paths();
}

}  // namespace shardwise
