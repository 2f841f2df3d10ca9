#include "exec/direct_flow.hpp"

#include <algorithm>

namespace shardwise {

/// Threads that read for themselves have room for one request each; it comes out of the same share of the staging
/// memory.
DirectFlow::DirectFlow(Plan const& plan, ReaderSet& readers, Placer& placer, std::span<std::byte> buffers)
    : plan_(plan), readers_(readers), placer_(placer), buffers_(buffers), buffer_of_(plan.direct.size(), kNoBuffer) {
    bool const has_inline = std::any_of(plan.direct.begin(), plan.direct.end(), [&](DirectRead const& read) {
        return readers.inline_reader_of(read.range.file) != nullptr;
    });
    auto const count = plan.direct_buffers - (has_inline ? static_cast<std::uint32_t>(placer.threads()) : 0);
    for (std::uint32_t i = count; i-- > 0;) { free_buffers_.push_back(i); }
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
    auto const& [range, blocks, is_scattered] = plan_.direct[index];
    auto const id = WorkId{WorkId::Kind::direct, 0, index}.pack();
    if (auto* const reader = readers_.inline_reader_of(range.file); reader != nullptr) {
        if (placer_.under_way() >= 2 * placer_.threads()) { return false; }
        ++submitted_;
        placer_.submit({.id = id,
                        .blocks = blocks_of(index),
                        .reader = reader,
                        .range = range,
                        .is_scattered = is_scattered && reader->fills_room()});
        return true;
    }
    if (free_buffers_.empty() || !readers_.has_room(range.file)) { return false; }
    buffer_of_[index] = free_buffers_.back();
    free_buffers_.pop_back();
    used_buffers_ = std::max(used_buffers_, buffer_of_[index] + 1);
    ++submitted_;
    ++reads_under_way_;
    readers_.submit(
        {id, range, buffers_.subspan(buffer_of_[index] * plan_.direct_buffer_bytes, plan_.direct_buffer_bytes)});
    return true;
}

std::span<CopyBlock const> DirectFlow::blocks_of(std::uint32_t index) const {
    auto const& blocks = plan_.direct[index].blocks;
    return std::span(plan_.direct_blocks).subspan(blocks.first, blocks.count);
}

void DirectFlow::on_read(std::uint32_t index, std::span<std::byte const> data) {
    --reads_under_way_;
    placer_.submit({.id = WorkId{WorkId::Kind::direct, 0, index}.pack(), .blocks = blocks_of(index), .source = data});
}

void DirectFlow::on_placed(std::uint32_t index) {
    ++finished_;
    if (buffer_of_[index] != kNoBuffer) { free_buffers_.push_back(buffer_of_[index]); }
}

}  // namespace shardwise
