#include "exec/grid_launcher.hpp"

#include <cstring>

#include "util/checked.hpp"

namespace shardwise {

GridLauncher::GridLauncher(Accelerator& accelerator, Stream& stream, std::uint64_t room_bytes)
    : accelerator_(accelerator), stream_(stream) {
    make_room(align_down(room_bytes / kBatches, alignof(GridBlock)));
}

void GridLauncher::make_room(std::uint64_t batch_bytes) {
    wait_for(stream_, mark_);
    batch_bytes_ = batch_bytes;
    pinned_ = accelerator_.allocate_pinned(kBatches * batch_bytes);
    device_ = accelerator_.allocate(kBatches * batch_bytes);
}

void GridLauncher::launch() {
    auto const list = grid_.bytes();
    if (list.empty()) { return; }
    if (list.size() > batch_bytes_) { make_room(2 * list.size()); }
    wait_for(stream_, marks_[next_]);
    auto const pinned = pinned_.bytes().subspan(next_ * batch_bytes_, list.size());
    auto* const device = device_.bytes().data() + next_ * batch_bytes_;
    std::memcpy(pinned.data(), list.data(), list.size());
    stream_.copy(pinned, device);
    run_place_grid(stream_, reinterpret_cast<GridBlock const*>(device), grid_.size());
    mark_ = stream_.mark();
    marks_[next_] = mark_;
    next_ = (next_ + 1) % kBatches;
    grid_.clear();
}

}  // namespace shardwise
