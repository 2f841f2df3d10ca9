#include "util/natural_order.hpp"

#include <algorithm>
#include <atomic>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>

#include "util/digits.hpp"
#include "util/kind_order.hpp"
#include "util/number_groups.hpp"
#include "util/parallel.hpp"

namespace shardwise {
namespace {

std::string_view without_leading_zeros(std::string_view digits) noexcept {
    return digits.substr(std::min(digits.find_first_not_of('0'), digits.size()));
}

/// Compares digit strings of any length by value.
int compare_numbers(std::string_view a, std::string_view b) noexcept {
    a = without_leading_zeros(a);
    b = without_leading_zeros(b);
    if (a.size() != b.size()) { return a.size() < b.size() ? -1 : 1; }
    return a.compare(b);
}

std::string_view trailing_digits(std::string_view segment) noexcept {
    std::size_t begin = segment.size();
    while (begin > 0 && is_digit(segment[begin - 1])) { --begin; }
    return segment.substr(begin);
}

/// Characters that both begin with, eight at a time: names of a model share most of theirs.
std::size_t common_prefix(std::string_view a, std::string_view b) noexcept {
    auto const size = std::min(a.size(), b.size());
    std::size_t at = 0;
    for (; at + sizeof(std::uint64_t) <= size; at += sizeof(std::uint64_t)) {
        std::uint64_t word_a = 0;
        std::uint64_t word_b = 0;
        std::memcpy(&word_a, a.data() + at, sizeof(word_a));
        std::memcpy(&word_b, b.data() + at, sizeof(word_b));
        if (word_a != word_b) { break; }
    }
    while (at < size && a[at] == b[at]) { ++at; }
    return at;
}

/// A name to be sorted.
struct KeyedName {
    std::uint64_t key = 0;
    std::uint32_t index = 0;
    auto operator<=>(KeyedName const&) const = default;
};

/// Indices of names by keys that compare as they do. None if names have no such keys.
std::optional<std::vector<KeyedName>> sorted_by_kinds(std::span<std::string_view const> names) {
    constexpr std::size_t kLeastNames = 8192;
    auto const groups = NumberGroups::of(names);
    auto const kinds = groups ? KindOrder::of(groups->specimens()) : std::nullopt;
    if (!kinds) { return std::nullopt; }
    std::vector<KeyedName> sorted(names.size());
    std::atomic<bool> is_whole = true;
    auto const parts = parts_for_threads(names.size(), kLeastNames);
    for_each_in_parallel(parts.size(), parts.size(), [&](std::size_t part) {
        auto const [begin, end] = parts[part];
        for (auto i = begin; i < end; ++i) {
            auto const key = kinds->key(groups->group(i), groups->digits(i));
            if (!key) {
                is_whole = false;
                return;
            }
            sorted[i] = {*key, static_cast<std::uint32_t>(i)};
        }
        std::ranges::sort(std::span(sorted).subspan(begin, end - begin));
    });
    if (!is_whole) { return std::nullopt; }
    merge_in_parallel(sorted.begin(), parts, std::less<>());
    return sorted;
}

std::size_t digit_run(std::string_view text) noexcept {
    auto const end = std::find_if_not(text.begin(), text.end(), is_digit);
    return static_cast<std::size_t>(end - text.begin());
}

}  // namespace

int compare_segments(std::string_view a, std::string_view b) noexcept {
    auto const number_a = trailing_digits(a);
    auto const number_b = trailing_digits(b);
    bool const all_digits_a = !a.empty() && number_a.size() == a.size();
    bool const all_digits_b = !b.empty() && number_b.size() == b.size();
    if (all_digits_a != all_digits_b) { return all_digits_a ? -1 : 1; }
    if (all_digits_a) { return compare_numbers(a, b); }
    a.remove_suffix(number_a.size());
    b.remove_suffix(number_b.size());
    if (int const text = a.compare(b); text != 0) { return text; }
    if (number_a.empty() != number_b.empty()) { return number_a.empty() ? -1 : 1; }
    return compare_numbers(number_a, number_b);
}

std::string_view take_segment(std::string_view& rest) noexcept {
    auto const end = std::min(rest.find('.'), rest.size());
    auto const segment = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return segment;
}

bool natural_name_less(std::string_view a, std::string_view b) noexcept {
    // Whole segments that are the same need no look.
    auto const dot = a.substr(0, common_prefix(a, b)).rfind('.');
    auto const begin = dot == std::string_view::npos ? 0 : dot + 1;
    auto rest_a = a.substr(begin);
    auto rest_b = b.substr(begin);
    while (!rest_a.empty() && !rest_b.empty()) {
        if (int const order = compare_segments(take_segment(rest_a), take_segment(rest_b)); order != 0) {
            return order < 0;
        }
    }
    if (rest_a.empty() != rest_b.empty()) { return rest_a.empty(); }
    return a < b;
}

std::vector<std::uint32_t> natural_order(std::span<std::string_view const> names) {
    std::vector<std::uint32_t> order(names.size());
    if (auto const sorted = sorted_by_kinds(names)) {
        std::ranges::transform(*sorted, order.begin(), &KeyedName::index);
        return order;
    }
    std::iota(order.begin(), order.end(), 0U);
    std::ranges::stable_sort(order, natural_name_less, [&](std::uint32_t index) { return names[index]; });
    return order;
}

bool natural_file_less(std::string_view a, std::string_view b) noexcept {
    auto rest_a = a;
    auto rest_b = b;
    while (!rest_a.empty() && !rest_b.empty()) {
        auto const run_a = digit_run(rest_a);
        auto const run_b = digit_run(rest_b);
        if (run_a > 0 && run_b > 0) {
            if (int const order = compare_numbers(rest_a.substr(0, run_a), rest_b.substr(0, run_b)); order != 0) {
                return order < 0;
            }
            rest_a.remove_prefix(run_a);
            rest_b.remove_prefix(run_b);
            continue;
        }
        if (rest_a.front() != rest_b.front()) { return rest_a.front() < rest_b.front(); }
        rest_a.remove_prefix(1);
        rest_b.remove_prefix(1);
    }
    if (rest_a.empty() != rest_b.empty()) { return rest_a.empty(); }
    return a < b;
}

}  // namespace shardwise
