#include <shardwise/error.hpp>

#include "convert/grid_launch.hpp"

namespace shardwise {
namespace {

[[noreturn]] void refuse() {
    throw Error(Errc::unavailable, "this build has no GPU back ends (CMake option SHARDWISE_WITH_CUDA)");
}

}  // namespace

void launch(PlaceKernel const&, std::uint32_t, void*) {
    refuse();
}
void launch(DigestKernel const&, std::uint32_t, void*) {
    refuse();
}
void launch(QuantizeKernel const&, std::uint32_t, void*) {
    refuse();
}
void clear(std::span<std::byte>, void*) {
    refuse();
}

}  // namespace shardwise
