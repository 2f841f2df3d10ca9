/// @file
/// Name patterns of conversion rules: several regular expressions tried as one alternation.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shardwise {

/// Where a pattern matched in a name.
struct PatternMatch {
    std::size_t source = 0;               ///< which of the pattern's sources, in authored order
    std::size_t begin = 0;                ///< the match is name[begin, end)
    std::size_t end = 0;
    std::vector<std::string_view> groups; ///< text of the source's own capture groups, in order; empty if not taken
    std::optional<std::string_view> star; ///< text that the source's last `*.` took
};

/// The sources of one rule. A source is a regular expression found anywhere in a name, with two additions: the two
/// characters `*.` stand for "anything, then a dot", and a source that ends in a letter or digit only matches where no
/// word character follows (`weight` does not match in `weight_scale`). Longer sources are tried first; the leftmost
/// match wins.
///
/// Not for use by two threads at a time.
class Pattern {
   public:
    /// @throws Error input with the source and the reason if a source is no regular expression.
    explicit Pattern(std::vector<std::string> sources);
    Pattern(Pattern&&) noexcept;
    Pattern& operator=(Pattern&&) noexcept;
    ~Pattern();

    /// The first match in @p name; the views in it point into @p name.
    std::optional<PatternMatch> find(std::string_view name) const;

    std::span<std::string const> sources() const noexcept { return sources_; }

    /// True if it surely matches the same characters of names that differ only in digits of their numbers (segments
    /// between dots that are all digits). False as soon as a source is not easily told to: `layers.46`, `[0-3]`.
    bool treats_numbers_alike() const;

   private:
    struct Compiled;

    std::vector<std::string> sources_;
    std::unique_ptr<Compiled> compiled_;
};

/// A rule's target as replacement text: one leading `^` and look-around groups taken away, `\.` made `.`, a capture
/// group made `\1`.
std::string normalize_target(std::string_view target);

/// @p target with `\1`..`\9` replaced by the groups of a match; a number without a group stays as it is.
std::string substitute_groups(std::string_view target, std::span<std::string_view const> groups);

}  // namespace shardwise
