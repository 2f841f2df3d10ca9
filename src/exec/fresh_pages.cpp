#include "exec/fresh_pages.hpp"

#include <algorithm>

#include "device/host_memory.hpp"
#include "plan/copy_block.hpp"

namespace shardwise {
namespace {

std::uintptr_t address_of(std::byte const* byte) {
    return reinterpret_cast<std::uintptr_t>(byte);
}

std::byte* end_of(std::span<std::byte> bytes) {
    return bytes.data() + bytes.size();
}

/// Tensors of one arena, which leaves less than its alignment between them.
bool are_side_by_side(std::span<std::byte> first, std::span<std::byte> second) {
    return address_of(second.data()) - address_of(end_of(first)) < kStoreAlignment;
}

}  // namespace

FreshPages::FreshPages(TensorSpans tensors) : tensors_(tensors), first_page_(tensors.size(), kNone) {
    for (std::size_t first = 0; first < tensors.size();) {
        auto last = first;
        while (last + 1 < tensors.size() && are_side_by_side(tensors[last], tensors[last + 1])) { ++last; }
        add_stretch(first, last);
        first = last + 1;
    }
    is_taken_ = std::vector<std::atomic<bool>>(pages_.size());
}

void FreshPages::add_stretch(std::size_t first, std::size_t last) {
    auto* const begin = tensors_[first].data();
    auto* const end = end_of(tensors_[last]);
    if (static_cast<std::size_t>(end - begin) < kHugePageBytes) { return; }
    auto const number = [](std::byte const* byte) { return address_of(byte) / kHugePageBytes; };
    for (auto tensor = first; tensor <= last; ++tensor) {
        first_page_[tensor] =
            static_cast<std::uint32_t>(pages_.size() + number(tensors_[tensor].data()) - number(begin));
    }
    for (auto* at = begin; at < end;) {
        auto const rest = kHugePageBytes - address_of(at) % kHugePageBytes;
        pages_.emplace_back(at, std::min<std::size_t>(rest, static_cast<std::size_t>(end - at)));
        at = end_of(pages_.back());
    }
}

void FreshPages::bring_in(std::span<CopyBlock const> blocks) noexcept {
    for (auto const& block : blocks) {
        auto const first_page = first_page_[block.tensor];
        auto const bytes = block.target_span();
        if (first_page == kNone || bytes == 0) { continue; }
        auto const begin = address_of(tensors_[block.tensor].data()) % kHugePageBytes + block.target;
        auto const first = first_page + begin / kHugePageBytes;
        auto const last = first_page + (begin + bytes - 1) / kHugePageBytes;
        for (auto page = first; page <= last; ++page) { bring_in_page(page); }
    }
}

bool FreshPages::bring_in_next() noexcept {
    while (next_ < pages_.size() && is_taken_[next_].load(std::memory_order_relaxed)) { ++next_; }
    return next_ < pages_.size() && bring_in_page(next_);
}

bool FreshPages::bring_in_page(std::size_t page) noexcept {
    if (is_taken_[page].load(std::memory_order_relaxed) || !is_able_.load(std::memory_order_relaxed)) { return false; }
    if (is_taken_[page].exchange(true, std::memory_order_relaxed)) { return true; }
    if (shardwise::bring_in(pages_[page])) { return true; }
    is_able_ = false;
    return false;
}

}  // namespace shardwise
