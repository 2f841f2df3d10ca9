#include "mapping/number_groups.hpp"

#include <algorithm>

#include "util/digits.hpp"
#include "util/name_hash.hpp"

namespace shardwise {
namespace {

/// The digits of the two specimens. Each has another digit at every place, so that what became of it is found again.
constexpr std::array<std::string_view, 2> kDigits = {"0123456789", "1234567890"};

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

/// Replaces the digits of @p name's numbers and gives them back.
NameDigits take_digits(std::string& name) {
    NameDigits digits;
    for_each_number(name, [&](std::size_t begin, std::size_t end) {
        digits.append(name, begin, end - begin);
        std::fill(name.begin() + static_cast<std::ptrdiff_t>(begin), name.begin() + static_cast<std::ptrdiff_t>(end),
                  '0');
    });
    return digits;
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

std::optional<NumberGroups> NumberGroups::of(std::span<std::string const> names) {
    NumberGroups result;
    NameMap<std::uint32_t> known;
    result.groups_.reserve(names.size());
    result.digits_.reserve(names.size());
    std::string masked;
    for (auto const& name : names) {
        masked = name;
        result.digits_.push_back(take_digits(masked));
        auto const count = result.digits_.back().size();
        if (count > kDigits[0].size()) { return std::nullopt; }
        auto const [at, is_new] = known.try_emplace(masked, static_cast<std::uint32_t>(known.size()));
        result.groups_.push_back(at->second);
        if (!is_new) { continue; }
        for (auto const digits : kDigits) { result.specimens_.push_back(with_digits(masked, digits)); }
    }
    return result;
}

}  // namespace shardwise
