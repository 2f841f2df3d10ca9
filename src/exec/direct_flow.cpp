#include "exec/direct_flow.hpp"

#include <algorithm>

#include "plan/direct_reads.hpp"

namespace shardwise {
namespace {

/// Threads that read for themselves have room for one request each; it comes out of the same share of the staging
/// memory.
std::span<std::byte> without_rooms(std::span<std::byte> buffers, Plan const& plan, ReaderSet& readers,
                                   Placer const& placer) {
    bool const has_inline = std::any_of(plan.direct.begin(), plan.direct.end(), [&](DirectRead const& read) {
        return readers.inline_reader_of(read.range.file) != nullptr;
    });
    return buffers.first(buffers.size() - (has_inline ? placer.threads() * plan.direct_buffer_bytes : 0));
}

}  // namespace

DirectFlow::DirectFlow(Plan const& plan, ReaderSet& readers, Placer& placer, std::span<std::byte> buffers,
                       TensorSpans tensors)
    : plan_(plan),
      readers_(readers),
      placer_(placer),
      buffers_(without_rooms(buffers, plan, readers, placer)),
      under_way_(plan.direct_buffers),
      entry_of_(plan.direct.size(), kNone),
      tensors_(tensors) {
    for (auto i = plan.direct_buffers; i-- > 0;) { free_entries_.push_back(i); }
}

void DirectFlow::start() {
    while (submitted_ < plan_.direct.size() &&
           readers_.inline_reader_of(plan_.direct[submitted_].range.file) == nullptr && submit_next()) {}
    readers_.start();
}

bool DirectFlow::feed() {
    bool has_fed = false;
    while (submitted_ < plan_.direct.size() && submit_next()) { has_fed = true; }
    if (has_fed) { readers_.start(); }
    return has_fed;
}

bool DirectFlow::submit_next() {
    auto const index = static_cast<std::uint32_t>(submitted_);
    auto* const reader = readers_.inline_reader_of(plan_.direct[index].range.file);
    bool const is_submitted = reader == nullptr ? submit_to_storage(index) : submit_to_lane(index, *reader);
    if (is_submitted) { ++submitted_; }
    return is_submitted;
}

bool DirectFlow::submit_to_lane(std::uint32_t index, InlineReader& reader) {
    if (placer_.under_way() >= 2 * placer_.threads()) { return false; }
    auto const& read = plan_.direct[index];
    placer_.submit({.id = WorkId{WorkId::Kind::direct, 0, index}.pack(),
                    .blocks = plan_.blocks_of(read),
                    .reader = &reader,
                    .range = read.range,
                    .is_scattered = read.is_scattered && reader.fills_room()});
    return true;
}

bool DirectFlow::submit_to_storage(std::uint32_t index) {
    auto const& read = plan_.direct[index];
    if (free_entries_.empty() || !readers_.has_room(read.range.file)) { return false; }
    auto const buffer = buffers_.take(room_bytes(read.range));
    if (buffer.empty()) { return false; }
    entry_of_[index] = free_entries_.back();
    free_entries_.pop_back();
    ++reads_under_way_;
    auto& [kept_buffer, landings] = under_way_[entry_of_[index]];
    kept_buffer = buffer;
    landings = can_land(read.range.file) ? find_landings(read.range, plan_.blocks_of(read), tensors_,
                                                         plan_.facts[read.range.file].memory_alignment)
                                         : Landings();
    if (!landings.landings.empty()) { placer_.make_ready(plan_.blocks_of(read)); }
    readers_.submit({.id = WorkId{WorkId::Kind::direct, 0, index}.pack(),
                     .range = read.range,
                     .into = buffer,
                     .landings = landings.landings});
    return true;
}

/// Only direct I/O saves a copy: the page cache's bytes are copied anyway.
bool DirectFlow::can_land(std::uint32_t file) const noexcept {
    return !tensors_.empty() && readers_.choices()[file].is_direct;
}

void DirectFlow::on_read(std::uint32_t index, std::span<std::byte const> data) {
    --reads_under_way_;
    auto const& landings = under_way_[entry_of_[index]].landings;
    landed_bytes_ += landings.bytes();
    placer_.submit({.id = WorkId{WorkId::Kind::direct, 0, index}.pack(),
                    .blocks = landings.landings.empty() ? plan_.blocks_of(plan_.direct[index])
                                                        : std::span<CopyBlock const>(landings.rest),
                    .source = data});
}

void DirectFlow::on_placed(std::uint32_t index) {
    ++finished_;
    if (entry_of_[index] == kNone) { return; }
    buffers_.give_back(under_way_[entry_of_[index]].buffer);
    free_entries_.push_back(entry_of_[index]);
}

}  // namespace shardwise
