#include "io/reader_set.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

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

}  // namespace

char const* to_string(ReaderKind kind) noexcept {
    switch (kind) {
        case ReaderKind::cached: return "pread";
        case ReaderKind::mmap: return "mmap";
        case ReaderKind::uring: return "uring";
        case ReaderKind::pread: return "pread";
    }
    return "unknown";
}

FileReader choose_reader(FileFacts const& facts, ReaderChoice choice, std::string const& uring_reason) {
    bool const wants_direct = facts.allows_direct && !facts.is_cached();
    switch (choice) {
        case ReaderChoice::mmap: return {ReaderKind::mmap, false, "asked for"};
        case ReaderChoice::pread:
            return {facts.is_cached() ? ReaderKind::cached : ReaderKind::pread, wants_direct, "asked for"};
        case ReaderChoice::uring:
            if (!uring_reason.empty()) { throw Error(Errc::unavailable, fmt::format("--io uring: {}", uring_reason)); }
            return {ReaderKind::uring, wants_direct, "asked for"};
        case ReaderChoice::gds: throw Error(Errc::unavailable, "--io gds: tensors lie in memory of the host");
        case ReaderChoice::automatic: break;
    }
    if (facts.is_memory) { return {ReaderKind::cached, false, fmt::format("{} is memory", facts.file_system)}; }
    if (facts.is_cached()) { return {ReaderKind::cached, false, percent(facts.cached_fraction)}; }
    return choose_uncached(facts, uring_reason);
}

ReaderSet::ReaderSet(std::span<FileRecord const> files, std::vector<FileReader> choices, ReaderLimits limits)
    : choices_(std::move(choices)) {
    auto const uses = [&](ReaderKind kind) {
        return std::any_of(choices_.begin(), choices_.end(),
                           [&](FileReader const& choice) { return choice.kind == kind; });
    };
    std::vector<bool> wants_direct;
    for (auto const& choice : choices_) { wants_direct.push_back(choice.is_direct); }
    auto const at = [](ReaderKind kind) { return static_cast<std::size_t>(kind); };
    if (uses(ReaderKind::cached)) { inline_readers_[at(ReaderKind::cached)] = make_cached_reader(files); }
    if (uses(ReaderKind::mmap)) { inline_readers_[at(ReaderKind::mmap)] = make_mmap_reader(files); }
    if (uses(ReaderKind::uring)) {
        readers_[at(ReaderKind::uring)] = make_uring_reader(files, wants_direct, limits.depth);
    }
    if (uses(ReaderKind::pread)) {
        readers_[at(ReaderKind::pread)] = make_pread_reader(files, wants_direct, limits.threads);
    }
}

bool ReaderSet::has_room(std::uint32_t file) const noexcept {
    auto const& reader = readers_[index_of(file)];
    return !reader || reader->has_room();
}

void ReaderSet::submit(ReadRequest const& request) {
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

}  // namespace shardwise
