#include "io/reader_set.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace shardwise {
namespace {

std::string percent(double fraction) { return fmt::format("{:.0f} % cached", fraction * 100); }

FileReader choose_uncached(FileFacts const& facts, std::string const& uring_reason) {
    auto const how = facts.allows_direct ? "direct I/O" : "no direct I/O there";
    if (uring_reason.empty()) {
        return {ReaderKind::uring, facts.allows_direct, fmt::format("{}, {}, {}", percent(facts.cached_fraction), facts.file_system, how)};
    }
    return {ReaderKind::pread, facts.allows_direct, fmt::format("{}, {}, {}; {}", percent(facts.cached_fraction), facts.file_system, how, uring_reason)};
}

}  // namespace

char const* to_string(ReaderKind kind) noexcept {
    switch (kind) {
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
        case ReaderChoice::pread: return {ReaderKind::pread, wants_direct, "asked for"};
        case ReaderChoice::uring:
            if (!uring_reason.empty()) { throw Error(Errc::unavailable, fmt::format("--io uring: {}", uring_reason)); }
            return {ReaderKind::uring, wants_direct, "asked for"};
        case ReaderChoice::automatic: break;
    }
    if (facts.is_memory) { return {ReaderKind::mmap, false, fmt::format("{} is memory", facts.file_system)}; }
    if (facts.is_cached()) { return {ReaderKind::mmap, false, percent(facts.cached_fraction)}; }
    return choose_uncached(facts, uring_reason);
}

ReaderSet::ReaderSet(std::span<FileRecord const> files, std::vector<FileReader> choices, ReaderLimits limits) : choices_(std::move(choices)) {
    auto const uses = [&](ReaderKind kind) {
        return std::any_of(choices_.begin(), choices_.end(), [&](FileReader const& choice) { return choice.kind == kind; });
    };
    std::vector<bool> wants_direct;
    for (auto const& choice : choices_) { wants_direct.push_back(choice.is_direct); }
    if (uses(ReaderKind::mmap)) { replace(ReaderKind::mmap, make_mmap_reader(files)); }
    if (uses(ReaderKind::uring)) { replace(ReaderKind::uring, make_uring_reader(files, wants_direct, limits.depth)); }
    if (uses(ReaderKind::pread)) { replace(ReaderKind::pread, make_pread_reader(files, wants_direct, limits.threads)); }
}

void ReaderSet::poll(std::vector<ReadResult>& results, Wait wait) {
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
    for (std::size_t i = 0; i < readers_.size(); ++i) {
        if (readers_[i]) { counters[i] = readers_[i]->counters(); }
    }
    return counters;
}

void ReaderSet::replace(ReaderKind kind, std::unique_ptr<Reader> reader) { readers_[static_cast<std::size_t>(kind)] = std::move(reader); }

}  // namespace shardwise
