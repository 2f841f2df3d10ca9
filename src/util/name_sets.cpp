#include "util/name_sets.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>

#include <fmt/format.h>

namespace shardwise {
namespace {

constexpr std::size_t kMostListed = 10;

using Numbers = std::vector<std::uint64_t>;

/// A name as the texts around its numbers: texts[0] numbers[0] texts[1] ...
struct TakenApart {
    std::vector<std::string> texts;
    Numbers numbers;
};

/// A segment that reads the same as the number it is; 01 is none, nor is what fits no number.
bool is_number(std::string_view segment, std::uint64_t& number) {
    auto const [end, error] = std::from_chars(segment.data(), segment.data() + segment.size(), number);
    return error == std::errc{} && end == segment.data() + segment.size() && std::to_string(number) == segment;
}

TakenApart take_apart(std::string_view name) {
    TakenApart result{{""}, {}};
    while (true) {
        auto const dot = name.find('.');
        auto const segment = name.substr(0, dot);
        std::uint64_t number = 0;
        if (is_number(segment, number)) {
            result.numbers.push_back(number);
            result.texts.emplace_back();
        } else {
            result.texts.back() += segment;
        }
        if (dot == std::string_view::npos) { return result; }
        result.texts.back() += '.';
        name.remove_prefix(dot + 1);
    }
}

std::string set_of(Numbers const& numbers) {
    if (numbers.size() == 1) { return std::to_string(numbers.front()); }
    if (numbers.size() <= kMostListed) { return fmt::format("{{{}}}", fmt::join(numbers, ", ")); }
    std::vector<std::string> runs;
    for (std::size_t first = 0; first < numbers.size();) {
        auto last = first;
        while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) { ++last; }
        runs.push_back(last == first ? std::to_string(numbers[first])
                                     : fmt::format("{}...{}", numbers[first], numbers[last]));
        first = last + 1;
    }
    return fmt::format("{{{}}}", fmt::join(runs, ", "));
}

/// Lists of equally many numbers as lists of number sets whose products are exactly these lists.
std::vector<std::vector<std::string>> sets_of(std::vector<Numbers> lists) {
    if (lists.front().empty()) { return {{}}; }
    std::map<std::uint64_t, std::vector<Numbers>> rest_of;
    for (auto const& list : lists) { rest_of[list.front()].emplace_back(list.begin() + 1, list.end()); }
    std::map<std::vector<Numbers>, Numbers> first_of;  // numbers that have the same rest go together
    for (auto& [number, rest] : rest_of) {
        std::sort(rest.begin(), rest.end());
        rest.erase(std::unique(rest.begin(), rest.end()), rest.end());
        first_of[std::move(rest)].push_back(number);
    }
    std::vector<std::pair<Numbers, std::vector<Numbers>>> groups;
    for (auto& [rest, numbers] : first_of) { groups.emplace_back(numbers, rest); }
    std::sort(groups.begin(), groups.end());
    std::vector<std::vector<std::string>> result;
    for (auto& [numbers, rest] : groups) {
        for (auto& sets : sets_of(std::move(rest))) {
            sets.insert(sets.begin(), set_of(numbers));
            result.push_back(std::move(sets));
        }
    }
    return result;
}

}  // namespace

std::vector<std::string> compress_names(std::span<std::string const> names) {
    std::map<std::vector<std::string>, std::size_t> group_of;
    std::vector<std::pair<std::vector<std::string>, std::vector<Numbers>>> groups;
    for (auto const& name : names) {
        auto [texts, numbers] = take_apart(name);
        auto const [at, is_new] = group_of.emplace(texts, groups.size());
        if (is_new) { groups.push_back({std::move(texts), {}}); }
        groups[at->second].second.push_back(std::move(numbers));
    }
    std::vector<std::string> result;
    for (auto& [texts, lists] : groups) {
        for (auto const& sets : sets_of(std::move(lists))) {
            std::string text = texts.front();
            for (std::size_t i = 0; i < sets.size(); ++i) { text += sets[i] + texts[i + 1]; }
            result.push_back(std::move(text));
        }
    }
    return result;
}

}  // namespace shardwise
