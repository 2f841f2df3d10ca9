#include "util/digest.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <xxhash.h>

namespace shardwise {
namespace {

XXH3_state_t* xxh3(void* state) { return static_cast<XXH3_state_t*>(state); }

}  // namespace

void Digest::StateDeleter::operator()(void* state) const noexcept { XXH3_freeState(xxh3(state)); }

Digest::Digest() : state_(XXH3_createState()) { XXH3_128bits_reset(xxh3(state_.get())); }

void Digest::add(std::span<std::byte const> bytes) {
    if (bytes.size() > waiting_.size() - waiting_bytes_) { flush(); }
    if (bytes.size() > waiting_.size()) {
        XXH3_128bits_update(xxh3(state_.get()), bytes.data(), bytes.size());
        return;
    }
    std::copy(bytes.begin(), bytes.end(), waiting_.begin() + static_cast<std::ptrdiff_t>(waiting_bytes_));
    waiting_bytes_ += bytes.size();
}

void Digest::flush() {
    XXH3_128bits_update(xxh3(state_.get()), waiting_.data(), waiting_bytes_);
    waiting_bytes_ = 0;
}

void Digest::add(std::string_view text) {
    add(static_cast<std::uint64_t>(text.size()));
    add(std::as_bytes(std::span(text)));
}

std::string Digest::hex() {
    flush();
    auto const hash = XXH3_128bits_digest(xxh3(state_.get()));
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace shardwise
