#include "util/digest.hpp"

#include <fmt/format.h>
#include <xxhash.h>

namespace shardwise {
namespace {

XXH3_state_t* xxh3(void* state) { return static_cast<XXH3_state_t*>(state); }

}  // namespace

void Digest::StateDeleter::operator()(void* state) const noexcept { XXH3_freeState(xxh3(state)); }

Digest::Digest() : state_(XXH3_createState()) { XXH3_128bits_reset(xxh3(state_.get())); }

void Digest::add(std::span<std::byte const> bytes) {
    XXH3_128bits_update(xxh3(state_.get()), bytes.data(), bytes.size());
}

void Digest::add(std::string_view text) {
    add(static_cast<std::uint64_t>(text.size()));
    add(std::as_bytes(std::span(text)));
}

std::string Digest::hex() const {
    auto const hash = XXH3_128bits_digest(xxh3(state_.get()));
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace shardwise
