#include "exec/choose_device.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "util/wire.hpp"

namespace shardwise {

Device choose_device(std::optional<Device> wanted, std::string_view option, Communicator& communicator) {
    if (wanted == Device::host) { return Device::host; }
    WireWriter out;
    out.put(visible_gpus().obstacle);
    auto const answers = communicator.all_gather(out.take());
    for (std::size_t rank = 0; rank < answers.size(); ++rank) {
        auto const obstacle = WireReader(answers[rank]).get_text();
        if (obstacle.empty()) { continue; }
        if (!wanted) { return Device::host; }
        throw Error(Errc::unavailable, fmt::format("{}: {}", option, obstacle)).on_rank(static_cast<int>(rank));
    }
    return Device::cuda;
}

std::shared_ptr<Accelerator> open_own_gpu(std::optional<int> wanted, Communicator const& communicator) {
    auto const gpus = visible_gpus();
    if (gpus.count == 0) { throw Error(Errc::unavailable, gpus.obstacle); }
    if (wanted && (*wanted < 0 || *wanted >= gpus.count)) {
        throw Error(Errc::usage, fmt::format("GPU {}: this process sees {} GPU(s)", *wanted, gpus.count));
    }
    auto const& neighbours = communicator.layout().neighbours;
    auto const place = std::find(neighbours.begin(), neighbours.end(), communicator.rank()) - neighbours.begin();
    return open_gpu(wanted.value_or(static_cast<int>(place) % gpus.count));
}

}  // namespace shardwise
