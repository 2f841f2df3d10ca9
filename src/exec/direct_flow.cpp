#include "exec/direct_flow.hpp"

namespace shardwise {

DirectFlow::DirectFlow(Plan const& plan, ReaderSet& readers, Lanes& lanes)
    : plan_(plan), readers_(readers), lanes_(lanes), buffer_of_(plan.direct.size(), kNoBuffer) {
    for (std::uint32_t i = plan.direct_buffers; i-- > 0;) { free_buffers_.push_back(i); }
}

bool DirectFlow::feed() {
    bool has_fed = false;
    while (submitted_ < plan_.direct.size() && submit_next()) { has_fed = true; }
    return has_fed;
}

bool DirectFlow::submit_next() {
    auto const index = static_cast<std::uint32_t>(submitted_);
    auto const& range = plan_.direct[index].range;
    auto& reader = readers_.reader_of(range.file);
    ReadRequest request{WorkId{WorkId::Kind::direct, 0, index}.pack(), range, {}};
    if (reader.lends_memory()) {
        if (lent_under_way_ >= 2 * lanes_.threads()) { return false; }
        ++lent_under_way_;
    } else {
        if (free_buffers_.empty() || !reader.has_room()) { return false; }
        if (memory_.bytes().empty()) { memory_ = HostMemory(plan_.direct_buffers * plan_.request_bytes); }
        buffer_of_[index] = free_buffers_.back();
        free_buffers_.pop_back();
        request.into = memory_.bytes().subspan(buffer_of_[index] * plan_.request_bytes, plan_.request_bytes);
    }
    ++submitted_;
    ++reads_under_way_;
    reader.submit(request);
    return true;
}

std::span<CopyBlock const> DirectFlow::blocks_of(std::uint32_t index) const {
    auto const& blocks = plan_.direct[index].blocks;
    return std::span(plan_.direct_blocks).subspan(blocks.first, blocks.count);
}

void DirectFlow::on_read(std::uint32_t index, std::span<std::byte const> data) {
    --reads_under_way_;
    auto& reader = readers_.reader_of(plan_.direct[index].range.file);
    auto* const lender = buffer_of_[index] == kNoBuffer ? &reader : nullptr;
    lanes_.submit({WorkId{WorkId::Kind::direct, 0, index}.pack(), blocks_of(index), data, false, lender});
}

void DirectFlow::on_placed(std::uint32_t index) {
    ++finished_;
    if (buffer_of_[index] == kNoBuffer) {
        --lent_under_way_;
    } else {
        free_buffers_.push_back(buffer_of_[index]);
    }
}

}  // namespace shardwise
