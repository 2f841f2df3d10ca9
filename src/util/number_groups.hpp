/// @file
/// Names that differ only in the digits of their numbers, so that what rules make of one tells what they make of all.
///
/// A checkpoint of many experts has 10^5 names of some dozen kinds. Of each kind two specimens go through the rules,
/// alike but for every digit of their numbers; where the results differ, digits of the name stand.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shardwise {

/// The digits of a name's numbers (segments between dots that are all digits), one after the other.
class NameDigits {
   public:
    static constexpr std::size_t kMost = 10;  ///< that specimens can tell apart

    /// False if there is no room for them.
    bool append(std::string_view digits) noexcept {
        if (digits.size() > kMost - size_) { return false; }
        digits.copy(digits_.data() + size_, digits.size());
        size_ += static_cast<std::uint8_t>(digits.size());
        return true;
    }

    operator std::string_view() const noexcept { return {digits_.data(), size_}; }

   private:
    std::array<char, kMost> digits_ = {};
    std::uint8_t size_ = 0;
};

/// A text into which digits of a name are put.
class DigitTemplate {
   public:
    /// @param texts what was made of the two specimens of a group.
    /// None if the texts differ in more than what digits of the specimens became.
    static std::optional<DigitTemplate> from(std::array<std::string_view, 2> texts);

    std::string with(std::string_view digits) const;

    /// Whether the digits of two names make the same text.
    bool is_same_with(std::string_view a, std::string_view b) const noexcept;

   private:
    struct Hole {
        std::uint32_t at = 0;    ///< in the text
        std::uint8_t digit = 0;  ///< which of the name's digits stands there
    };

    std::string text_;
    std::vector<Hole> holes_;
};

/// Whether two texts that were made of specimens differ only inside of segments that are all digits in both.
bool differ_in_numbers_only(std::string_view a, std::string_view b);

/// Names by their groups.
class NumberGroups {
   public:
    /// None if a name has more digits in its numbers than specimens can tell apart.
    static std::optional<NumberGroups> of(std::span<std::string_view const> names);

    /// Two a group, side by side.
    std::vector<std::string> const& specimens() const noexcept { return specimens_; }

    /// By name.
    std::uint32_t group(std::size_t name) const noexcept { return groups_[name]; }
    NameDigits digits(std::size_t name) const noexcept { return digits_[name]; }

   private:
    struct Part;

    std::vector<std::string> specimens_;
    std::vector<std::uint32_t> groups_;
    std::vector<NameDigits> digits_;
};

}  // namespace shardwise
