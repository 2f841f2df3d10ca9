#include "io/reader.hpp"

namespace shardwise {

void Reader::fault_in(std::span<std::byte const>) {}
void Reader::release(std::span<std::byte const>, std::uint64_t) noexcept {}

}  // namespace shardwise
