#include "io/transfer.hpp"

#include <algorithm>
#include <cerrno>

#include "util/checked.hpp"

namespace shardwise {

Transfer::Transfer(FileRange range, std::span<std::byte> into, bool is_direct, std::span<Landing const> landings)
    : range_(range), into_(into), is_direct_(is_direct), landings_(landings.begin(), landings.end()) {
    aim(range.begin);
}

void Transfer::aim(std::uint64_t next) {
    auto const page = align_down(range_.begin, kSlotAlignment);
    offset_ = is_direct_ ? align_down(next, kSlotAlignment) : next;
    auto const end = is_direct_ ? align_up(range_.end(), kSlotAlignment) : range_.end();
    size_bytes_ = end - offset_;
    targets_.clear();
    auto at = offset_;
    for (auto const& landing : landings_) {
        auto const landing_end = landing.begin + landing.into.size();
        if (landing_end <= at) { continue; }
        if (landing.begin > at) { add_target(into_.subspan(at - page, landing.begin - at)); }
        at = std::max(at, landing.begin);
        add_target(landing.into.subspan(at - landing.begin));
        at = landing_end;
    }
    if (at < end || targets_.empty()) { add_target(into_.subspan(at - page, end - at)); }
}

void Transfer::add_target(std::span<std::byte> target) {
    targets_.push_back({target.data(), target.size()});
}

bool Transfer::advance(std::uint64_t got) {
    auto const next = offset_ + got;
    if (next >= range_.end()) { return true; }
    aim(next);
    return false;
}

void Transfer::stop_direct() {
    auto const next = std::max(offset_, range_.begin);
    is_direct_ = false;
    aim(next);
}

std::span<std::byte const> Transfer::data() const noexcept {
    return into_.subspan(range_.begin % kSlotAlignment, range_.size_bytes);
}

NextStep take_outcome(FileAccess const& access, Transfer& transfer, std::int64_t outcome) {
    auto const offset = transfer.offset();
    if (transfer.is_direct() && (outcome == -EINVAL || outcome == -EOPNOTSUPP)) {
        transfer.stop_direct();
        return NextStep::fall_back;
    }
    bool const is_empty = transfer.size_bytes() == 0;  // of an empty range, nothing is what there is to read
    if (outcome < 0 || (outcome == 0 && !is_empty)) {
        check_outcome(access, {transfer.file(), offset, transfer.size_bytes()}, outcome);
        return NextStep::again;
    }
    if (transfer.advance(static_cast<std::uint64_t>(outcome))) { return NextStep::done; }
    if (transfer.offset() > offset) { return NextStep::again; }
    transfer.stop_direct();  // less than a page came: direct I/O would start there over and over
    return NextStep::fall_back;
}

}  // namespace shardwise
