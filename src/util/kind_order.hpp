/// @file
/// The natural order of names as an order of numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shardwise {

/// Numbers that compare as names do, for names of few kinds: those of a kind differ in the digits of their numbers
/// only.
///
/// The kinds' segments make a tree, in which a number is one branch whatever it is. A key holds, from its highest bits
/// on, which branch a name takes at each node of its way, and the numbers that it meets.
class KindOrder {
   public:
    /// @param specimens of NumberGroups: two names of each kind, side by side.
    /// None if keys would be longer than 64 bits, or segments that differ count as the same.
    static std::optional<KindOrder> of(std::vector<std::string> const& specimens);

    /// The key of a name; none if one of its numbers begins with a zero, so that another text counts as the same.
    /// @param digits of its numbers, as NumberGroups has them.
    std::optional<std::uint64_t> key(std::size_t kind, std::string_view digits) const noexcept;

   private:
    struct Number {
        std::uint8_t digits = 0;
        std::uint8_t shift = 0;  ///< of its lowest bit
    };
    struct Kind {
        std::uint64_t branches = 0;
        std::vector<Number> numbers;
    };
    struct Node;

    static std::optional<Kind> kind_of(std::string_view specimen, Node const& root);

    std::vector<Kind> kinds_;
};

}  // namespace shardwise
