#include "util/natural_order.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>

#include "util/digits.hpp"
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

/// Cuts the text before the next dot off @p rest.
std::string_view take_segment(std::string_view& rest) noexcept {
    auto const end = std::min(rest.find('.'), rest.size());
    auto const segment = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return segment;
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

/// Writes keys: texts whose bytes compare as names do. Before each segment stands a mark of its kind; numbers follow
/// their length; text goes up to a zero, and what follows that is less than what follows a zero of the text itself.
class KeyWriter {
   public:
    /// @param at room for longest_key() bytes.
    explicit KeyWriter(char* at) noexcept : at_(at) {}

    static std::size_t longest_key(std::string_view name) noexcept {
        constexpr std::size_t kMostOfSegment = 8;  // marks and length
        auto const segments = static_cast<std::size_t>(std::ranges::count(name, '.')) + 1;
        return 2 * name.size() + kMostOfSegment * segments;
    }

    std::string_view key(std::string_view name) noexcept {
        auto* const begin = at_;
        while (!name.empty()) {
            auto segment = take_segment(name);
            auto const number = trailing_digits(segment);
            bool const is_number = !segment.empty() && number.size() == segment.size();
            put(is_number ? '\1' : '\2');
            if (!is_number) {
                segment.remove_suffix(number.size());
                put_text(segment);
                put(number.empty() ? '\1' : '\2');
            }
            if (!number.empty()) { put_number(number); }
        }
        return {begin, at_};
    }

   private:
    void put(char c) noexcept { *at_++ = c; }

    void put_number(std::string_view digits) noexcept {
        constexpr std::size_t kLong = 255;
        digits = without_leading_zeros(digits);
        put(static_cast<char>(std::min(digits.size(), kLong)));
        for (int shift = 24; digits.size() >= kLong && shift >= 0; shift -= 8) {
            put(static_cast<char>(digits.size() >> shift & 0xFFU));
        }
        for (auto const digit : digits) { put(digit); }
    }

    void put_text(std::string_view text) noexcept {
        for (auto const c : text) {
            put(c);
            if (c == '\0') { put('\xFF'); }
        }
        put('\0');
    }

    char* at_;
};

/// A name to be sorted, with the key that stands for it.
struct KeyedName {
    std::string_view key;
    std::uint64_t word = 0;  ///< of the key, that is compared now
    std::uint32_t index = 0;
};

/// Eight bytes of a key from @p at on as a number that compares as they do. No key goes on with zeros where another one
/// ends, so zeros may stand for what lies behind the end.
std::uint64_t word_of(std::string_view key, std::size_t at) noexcept {
    std::array<char, sizeof(std::uint64_t)> bytes = {};
    if (at < key.size()) { std::memcpy(bytes.data(), key.data() + at, std::min(bytes.size(), key.size() - at)); }
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof(word));
    return __builtin_bswap64(word);
}

/// Takes up the words of all keys at @p at. True if not all of them are the same.
bool take_words(std::span<KeyedName> names, std::size_t at) noexcept {
    for (auto& name : names) { name.word = word_of(name.key, at); }
    return std::ranges::any_of(names, [&](KeyedName const& name) { return name.word != names.front().word; });
}

/// Sorts names whose keys agree before @p at, word by word: names of a model have most of their characters in common,
/// and few words tell many of them apart. Keys that are the same end up in the order of @p names.
void sort_from(std::span<KeyedName> sorted, std::size_t at, std::span<std::string_view const> names) {
    while (!take_words(sorted, at)) {
        bool const is_through = std::ranges::all_of(sorted, [&](auto const& name) { return at >= name.key.size(); });
        if (is_through) {
            std::ranges::sort(sorted, [&](auto const& a, auto const& b) { return names[a.index] < names[b.index]; });
            return;
        }
        at += sizeof(std::uint64_t);
    }
    std::ranges::sort(sorted, {}, &KeyedName::word);
    for (std::size_t begin = 0; begin < sorted.size();) {
        auto end = begin + 1;
        while (end < sorted.size() && sorted[end].word == sorted[begin].word) { ++end; }
        if (end - begin > 1) { sort_from(sorted.subspan(begin, end - begin), at + sizeof(std::uint64_t), names); }
        begin = end;
    }
}

/// Fills in a part of @p keyed. The memory of its keys.
std::unique_ptr<char[]> write_keys(std::span<std::string_view const> names, IndexRange part,
                                   std::span<KeyedName> keyed) {
    std::size_t longest = 0;
    for (auto i = part.begin; i < part.end; ++i) { longest += KeyWriter::longest_key(names[i]); }
    auto keys = std::make_unique_for_overwrite<char[]>(longest);
    KeyWriter writer(keys.get());
    for (auto i = part.begin; i < part.end; ++i) {
        keyed[i] = {writer.key(names[i]), 0, static_cast<std::uint32_t>(i)};
    }
    return keys;
}

std::size_t digit_run(std::string_view text) noexcept {
    auto const end = std::find_if_not(text.begin(), text.end(), is_digit);
    return static_cast<std::size_t>(end - text.begin());
}

}  // namespace

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
    constexpr std::size_t kLeastNames = 8192;
    auto const parts = parts_for_threads(names.size(), kLeastNames);
    std::vector<std::unique_ptr<char[]>> keys(parts.size());
    std::vector<KeyedName> sorted(names.size());
    for_each_in_parallel(parts.size(), parts.size(), [&](std::size_t part) {
        auto const [begin, end] = parts[part];
        keys[part] = write_keys(names, parts[part], sorted);
        sort_from(std::span(sorted).subspan(begin, end - begin), 0, names);
    });
    merge_in_parallel(sorted.begin(), parts, [&](KeyedName const& a, KeyedName const& b) {
        auto const difference = a.key.compare(b.key);
        return difference != 0 ? difference < 0 : names[a.index] < names[b.index];
    });
    std::vector<std::uint32_t> order;
    order.reserve(names.size());
    for (auto const& name : sorted) { order.push_back(name.index); }
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
