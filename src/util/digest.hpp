/// @file
/// 128-bit digests of structured values (XXH3).
#pragma once

#include <cstdint>
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
        add(std::as_bytes(std::span(&wide, 1)));
    }

    /// 32 hexadecimal digits.
    std::string hex() const;

   private:
    struct StateDeleter {
        void operator()(void* state) const noexcept;
    };
    std::unique_ptr<void, StateDeleter> state_;
};

}  // namespace shardwise
