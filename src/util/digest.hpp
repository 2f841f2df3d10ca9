/// @file
/// 128-bit digests of structured values (XXH3).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace shardwise {

/// Streams values into one digest. Texts carry their length, so that "ab","c" and "a","bc" differ.
class Digest {
   public:
    Digest();

    void add(std::span<std::byte const> bytes);
    void add(std::string_view text);

    template <class T>
        requires std::is_integral_v<T> || std::is_enum_v<T>
    void add(T value) {
        auto const wide = static_cast<std::uint64_t>(value);
        if (waiting_bytes_ + sizeof(wide) > waiting_.size()) { flush(); }
        std::memcpy(waiting_.data() + waiting_bytes_, &wide, sizeof(wide));
        waiting_bytes_ += sizeof(wide);
    }

    /// 32 hexadecimal digits, of what was added so far.
    std::string hex();

   private:
    struct StateDeleter {
        void operator()(void* state) const noexcept;
    };
    void flush();

    std::unique_ptr<void, StateDeleter> state_;
    std::array<std::byte, 1024> waiting_;  ///< most of what is added is short; the hash is fast on what is long
    std::size_t waiting_bytes_ = 0;
};

}  // namespace shardwise
