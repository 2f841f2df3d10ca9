#include "util/number_groups.hpp"

#include <algorithm>

#include "util/digits.hpp"
#include "util/name_hash.hpp"
#include "util/parallel.hpp"

namespace shardwise {
namespace {

/// The digits of the two specimens. Each has another digit at every place, so that what became of it is found again.
constexpr std::array<std::string_view, 2> kDigits = {"0123456789", "1234567890"};
static_assert(kDigits[0].size() == NameDigits::kMost);

/// Calls @p visit(begin, end) for every segment between dots of @p name that is all digits.
template <class Visit>
void for_each_number(std::string_view name, Visit visit) {
    for (std::size_t begin = 0; begin < name.size();) {
        auto at = begin;
        while (at < name.size() && is_digit(name[at])) { ++at; }
        bool const is_number = at > begin && (at == name.size() || name[at] == '.');
        if (is_number) { visit(begin, at); }
        auto const dot = name.find('.', at);
        if (dot == std::string_view::npos) { return; }
        begin = dot + 1;
    }
}

/// Puts zeros in place of the digits of @p name's numbers.
/// @return these; none if there are more than specimens can tell apart.
std::optional<NameDigits> take_digits(std::string& name) {
    NameDigits digits;
    bool is_room = true;
    for_each_number(name, [&](std::size_t begin, std::size_t end) {
        is_room = is_room && digits.append(std::string_view(name).substr(begin, end - begin));
        std::fill(name.begin() + static_cast<std::ptrdiff_t>(begin), name.begin() + static_cast<std::ptrdiff_t>(end),
                  '0');
    });
    return is_room ? std::optional(digits) : std::nullopt;
}

std::string with_digits(std::string name, std::string_view digits) {
    std::size_t next = 0;
    for_each_number(std::string(name), [&](std::size_t begin, std::size_t end) {
        for (auto at = begin; at < end; ++at) { name[at] = digits[next++]; }
    });
    return name;
}

}  // namespace

bool differ_in_numbers_only(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) { return false; }
    std::string masked_a(a);
    std::string masked_b(b);
    take_digits(masked_a);
    take_digits(masked_b);
    return masked_a == masked_b;
}

std::optional<DigitTemplate> DigitTemplate::from(std::array<std::string_view, 2> texts) {
    auto const [a, b] = texts;
    if (a.size() != b.size()) { return std::nullopt; }
    DigitTemplate result;
    result.text_ = a;
    for (std::uint32_t at = 0; at < a.size(); ++at) {
        if (a[at] == b[at]) { continue; }
        auto const digit = kDigits[0].find(a[at]);
        if (digit == std::string_view::npos || kDigits[1][digit] != b[at]) { return std::nullopt; }
        result.holes_.push_back({at, static_cast<std::uint8_t>(digit)});
    }
    return result;
}

std::string DigitTemplate::with(std::string_view digits) const {
    auto text = text_;
    for (auto const& hole : holes_) { text[hole.at] = digits[hole.digit]; }
    return text;
}

bool DigitTemplate::is_same_with(std::string_view a, std::string_view b) const noexcept {
    return std::ranges::all_of(holes_, [&](Hole const& hole) { return a[hole.digit] == b[hole.digit]; });
}

/// Groups of a part of the names, numbered as they first come.
struct NumberGroups::Part {
    std::vector<std::string> masked;  ///< by group
    bool is_fit = true;               ///< no name has more digits than specimens

    void look_at(std::span<std::string_view const> names, std::span<std::uint32_t> groups,
                 std::span<NameDigits> digits) {
        NameMap<std::uint32_t> known;
        std::string name;
        for (std::size_t i = 0; i < names.size(); ++i) {
            name = names[i];
            auto const taken = take_digits(name);
            if (!taken) {
                is_fit = false;
                return;
            }
            digits[i] = *taken;
            auto const [at, is_new] = known.try_emplace(name, static_cast<std::uint32_t>(known.size()));
            groups[i] = at->second;
            if (is_new) { masked.push_back(name); }
        }
    }
};

std::optional<NumberGroups> NumberGroups::of(std::span<std::string_view const> names) {
    constexpr std::size_t kLeastNames = 8192;
    NumberGroups result;
    result.groups_.resize(names.size());
    result.digits_.resize(names.size());
    auto const ranges = parts_for_threads(names.size(), kLeastNames);
    std::vector<Part> parts(ranges.size());
    for_each_in_parallel(parts.size(), parts.size(), [&](std::size_t part) {
        auto const [begin, end] = ranges[part];
        parts[part].look_at(names.subspan(begin, end - begin), std::span(result.groups_).subspan(begin, end - begin),
                            std::span(result.digits_).subspan(begin, end - begin));
    });
    NameMap<std::uint32_t> known;
    for (std::size_t part = 0; part < parts.size(); ++part) {
        if (!parts[part].is_fit) { return std::nullopt; }
        std::vector<std::uint32_t> numbers;
        for (auto const& masked : parts[part].masked) {
            auto const [at, is_new] = known.try_emplace(masked, static_cast<std::uint32_t>(known.size()));
            numbers.push_back(at->second);
            if (!is_new) { continue; }
            for (auto const specimen : kDigits) { result.specimens_.push_back(with_digits(masked, specimen)); }
        }
        for (auto i = ranges[part].begin; part > 0 && i < ranges[part].end; ++i) {
            result.groups_[i] = numbers[result.groups_[i]];
        }
    }
    return result;
}

}  // namespace shardwise
