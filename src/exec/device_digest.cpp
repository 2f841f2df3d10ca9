#include "exec/device_digest.hpp"

#include <cstring>

namespace shardwise {

void DeviceDigests::add(HeldPart const& part, DType dtype, std::span<std::byte const> local, std::uint32_t sum) {
    auto const unit = static_cast<std::uint32_t>(digest_unit_bytes(dtype));
    for (auto const& block : part.blocks) { grid_.add({block, unit, local.data(), sum}); }
}

std::vector<std::uint64_t> DeviceDigests::work_out(Accelerator& accelerator, std::size_t count) const {
    std::vector<std::uint64_t> sums(count, 0);
    if (count == 0) { return sums; }
    auto const stream = accelerator.make_stream();
    auto const list = grid_.bytes();
    auto const pinned_list = accelerator.allocate_pinned(list.size());
    auto const device_list = accelerator.allocate(list.size());
    std::memcpy(pinned_list.bytes().data(), list.data(), list.size());
    stream->copy(pinned_list.bytes(), device_list.bytes().data());

    auto const pinned_sums = accelerator.allocate_pinned(count * sizeof(std::uint64_t));
    auto const device_sums = accelerator.allocate(count * sizeof(std::uint64_t));
    run_digest_grid(*stream, reinterpret_cast<GridBlock const*>(device_list.bytes().data()), grid_.size(),
                    {reinterpret_cast<std::uint64_t*>(device_sums.bytes().data()), count});
    stream->copy(device_sums.bytes(), pinned_sums.bytes().data());
    finish(*stream);
    std::memcpy(sums.data(), pinned_sums.bytes().data(), pinned_sums.bytes().size());
    return sums;
}

}  // namespace shardwise
