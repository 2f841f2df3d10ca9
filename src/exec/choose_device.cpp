#include "exec/choose_device.hpp"

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "device/accelerator.hpp"
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

}  // namespace shardwise
