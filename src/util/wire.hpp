/// @file
/// Little binary messages between ranks of one job: numbers as they lie in memory, texts with their length in front.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <shardwise/error.hpp>

namespace shardwise {

/// Appends values to a growing buffer.
class WireWriter {
   public:
    template <class T>
        requires std::is_trivially_copyable_v<T>
    void put(T const& value) {
        append(std::as_bytes(std::span(&value, 1)));
    }
    void put(std::string_view text) {
        put<std::uint64_t>(text.size());
        append(std::as_bytes(std::span(text)));
    }
    void put(std::string const& text) { put(std::string_view(text)); }
    std::vector<std::byte> take() { return std::move(bytes_); }

   private:
    void append(std::span<std::byte const> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }

    std::vector<std::byte> bytes_;
};

/// Takes the values out again in the same order.
/// Every call throws Error peer when the buffer is too short: the ranks then run different builds.
class WireReader {
   public:
    explicit WireReader(std::span<std::byte const> bytes) : rest_(bytes) {}

    template <class T>
        requires std::is_trivially_copyable_v<T>
    T get() {
        T value;
        std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
        return value;
    }
    std::string get_text() { return std::string(get_view()); }

    /// A text where it lies in the buffer.
    std::string_view get_view() {
        auto const bytes = take(get<std::uint64_t>());
        return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
    }

    /// A number of items that follow, which take a byte each at least.
    std::uint64_t get_count() {
        auto const count = get<std::uint64_t>();
        if (count > rest_.size()) { refuse(); }
        return count;
    }
    bool is_empty() const noexcept { return rest_.empty(); }

   private:
    [[noreturn]] static void refuse() {
        throw Error(Errc::peer, "a message from another rank ends early: different builds?");
    }

    std::span<std::byte const> take(std::uint64_t count) {
        if (count > rest_.size()) { refuse(); }
        auto const head = rest_.first(count);
        rest_ = rest_.subspan(count);
        return head;
    }

    std::span<std::byte const> rest_;
};

}  // namespace shardwise
