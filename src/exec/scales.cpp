#include "exec/scales.hpp"

#include "util/file.hpp"

namespace shardwise {

std::uint64_t scale_bytes(Plan const& plan) noexcept {
    std::uint64_t bytes = 0;
    for (auto const& scaling : plan.scalings) { bytes += scaling.range.size_bytes; }
    return bytes;
}

LoadedScales::LoadedScales(Plan const& plan) {
    if (plan.scalings.empty()) { return; }
    memory_ = HostMemory(scale_bytes(plan));
    std::vector<Fd> opened(plan.files.size());
    for (auto const& [range, dtype, first_scale, grid] : plan.scalings) {
        auto const bytes = memory_.bytes().subspan(read_bytes_, range.size_bytes);
        auto const& path = plan.files[range.file].path;
        auto& fd = opened[range.file];
        if (!fd) { fd = open_for_read(path); }
        read_exactly(fd, path, range.begin, bytes);
        read_bytes_ += range.size_bytes;
        scalings_.push_back({grid, {bytes, dtype, first_scale}});
    }
}

}  // namespace shardwise
