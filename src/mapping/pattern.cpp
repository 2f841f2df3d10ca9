#include "mapping/pattern.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <numeric>

#include <fmt/format.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <shardwise/error.hpp>

#include "util/digits.hpp"
#include "util/handle.hpp"

namespace shardwise {
namespace {

struct CodeTraits {
    using type = pcre2_code*;
    static type null() noexcept { return nullptr; }
    static void close(type code) noexcept { pcre2_code_free(code); }
};

struct MatchDataTraits {
    using type = pcre2_match_data*;
    static type null() noexcept { return nullptr; }
    static void close(type data) noexcept { pcre2_match_data_free(data); }
};

/// One source as a branch of the alternation; group numbers count from the branch's own first one.
struct Branch {
    std::string regex;
    std::vector<std::uint32_t> authored_groups;
    std::optional<std::uint32_t> star_group;
    std::uint32_t group_count = 0;
};

bool opens_capture_group(std::string_view rest) {
    if (!rest.starts_with('(')) { return false; }
    if (!rest.starts_with("(?")) { return true; }
    bool const is_named =
        rest.starts_with("(?P<") || (rest.starts_with("(?<") && !rest.starts_with("(?<=") && !rest.starts_with("(?<!"));
    return is_named;
}

Branch translate(std::string_view source) {
    Branch branch;
    bool in_class = false;
    for (std::size_t at = 0; at < source.size(); ++at) {
        auto const rest = source.substr(at);
        if (rest.front() == '\\' && rest.size() > 1) {
            branch.regex += rest.substr(0, 2);
            ++at;
            continue;
        }
        if (in_class || rest.front() == '[') {
            in_class = rest.front() != ']';
        } else if (rest.starts_with("*.")) {
            branch.star_group = ++branch.group_count;
            branch.regex += "(.*)\\.";
            ++at;
            continue;
        } else if (opens_capture_group(rest)) {
            branch.authored_groups.push_back(++branch.group_count);
        }
        branch.regex += rest.front();
    }
    bool const ends_in_word = !source.empty() && std::isalnum(static_cast<unsigned char>(source.back())) != 0;
    if (ends_in_word) { branch.regex += "(?!\\w)"; }
    return branch;
}

std::string pcre2_text(int error) {
    std::array<PCRE2_UCHAR, 256> text = {};
    pcre2_get_error_message(error, text.data(), text.size());
    return reinterpret_cast<char const*>(text.data());
}

UniqueHandle<CodeTraits> compile(std::string const& regex, std::string_view shown) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    UniqueHandle<CodeTraits> code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(regex.data()), regex.size(),
                                                PCRE2_DUPNAMES, &error, &offset, nullptr));
    if (!code) {
        throw Error(Errc::input, fmt::format("'{}' is not a regular expression: {} at character {}", shown,
                                             pcre2_text(error), offset));
    }
    return code;
}

bool is_letter(char c) noexcept {
    return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}

/// Of a class such as [0-9a-z_], from behind its bracket: whether it holds all digits or none; @p at goes to its end.
bool holds_digits_alike(std::string_view source, std::size_t& at) {
    constexpr std::array<std::string_view, 3> kRanges = {"0-9", "a-z", "A-Z"};
    if (at < source.size() && source[at] == '^') { ++at; }
    if (at < source.size() && source[at] == ']') { return false; }  // the first one does not end a class
    while (at < source.size() && source[at] != ']') {
        auto const rest = source.substr(at);
        bool const is_range = std::ranges::any_of(kRanges, [&](auto range) { return rest.starts_with(range); });
        bool const is_plain = is_letter(rest.front()) || rest.front() == '.';
        if (!is_range && !is_plain) { return false; }
        at += is_range ? 3 : 1;
    }
    return at < source.size();
}

/// Literal digits are allowed where they follow a letter, as in `w1`: there no number can stand.
bool treats_numbers_alike(std::string_view source) {
    constexpr std::string_view kEscaped = ".dDwWsS-_$^*+?()[]{}|/";
    bool follows_letter = false;
    for (std::size_t at = 0; at < source.size(); ++at) {
        auto const c = source[at];
        if (is_digit(c) && !follows_letter) { return false; }
        follows_letter = is_letter(c) || is_digit(c);
        if (c == '\\') {
            if (++at == source.size() || kEscaped.find(source[at]) == std::string_view::npos) { return false; }
        } else if (c == '[') {
            if (!holds_digits_alike(source, ++at)) { return false; }
        } else if (c == '{') {
            at = std::min(source.find('}', at), source.size());
        }
    }
    return true;
}

/// Checks that the groups are those that translate() counted: `(*VERB)`, `(?|...)`, `\Q...\E` and the like are counted
/// differently, and the numbers would lead past the match's groups. A back-reference by number would mean another group
/// inside the alternation.
void check_groups(pcre2_code const* code, std::uint32_t counted, std::string_view shown) {
    std::uint32_t groups = 0;
    std::uint32_t greatest_reference = 0;
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups);
    pcre2_pattern_info(code, PCRE2_INFO_BACKREFMAX, &greatest_reference);
    if (groups == counted && greatest_reference == 0) { return; }
    throw Error(Errc::input, fmt::format("'{}' uses groups in a way that name patterns do not have", shown));
}

}  // namespace

struct Pattern::Compiled {
    struct Source {
        std::size_t authored_index;
        std::uint32_t whole_group;  ///< group of the branch itself; its own groups follow
        Branch branch;
    };

    std::vector<Source> sources;  ///< longest first, as in the alternation
    UniqueHandle<CodeTraits> code;
    UniqueHandle<MatchDataTraits> match;
};

Pattern::Pattern(std::vector<std::string> sources)
    : sources_(std::move(sources)), compiled_(std::make_unique<Compiled>()) {
    std::vector<std::size_t> order(sources_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return sources_[a].size() > sources_[b].size(); });

    std::string alternation;
    std::uint32_t next_group = 1;
    for (auto const index : order) {
        auto branch = translate(sources_[index]);
        auto const alone = compile(branch.regex, sources_[index]);  // first, so that an error names the source
        check_groups(alone.get(), branch.group_count, sources_[index]);
        alternation += fmt::format("{}({})", alternation.empty() ? "" : "|", branch.regex);
        auto const group_count = branch.group_count;
        compiled_->sources.push_back({index, next_group, std::move(branch)});
        next_group += 1 + group_count;
    }
    compiled_->code = compile(alternation, alternation);
    check_groups(compiled_->code.get(), next_group - 1, alternation);
    pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE);  // only speed: without it matching interprets
    compiled_->match.reset(pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
}

Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

std::optional<PatternMatch> Pattern::find(std::string_view name) const {
    auto* const data = compiled_->match.get();
    int const found =
        pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0, data, nullptr);
    if (found == PCRE2_ERROR_NOMATCH) { return std::nullopt; }
    if (found < 0) { throw Error(Errc::input, fmt::format("matching '{}' failed: {}", name, pcre2_text(found))); }

    PCRE2_SIZE const* const span = pcre2_get_ovector_pointer(data);
    auto const text_of = [&](std::uint32_t group) -> std::string_view {
        if (span[2 * group] == PCRE2_UNSET) { return {}; }
        return name.substr(span[2 * group], span[2 * group + 1] - span[2 * group]);
    };
    PatternMatch match;
    match.begin = span[0];
    match.end = span[1];
    for (auto const& source : compiled_->sources) {
        if (span[2 * source.whole_group] == PCRE2_UNSET) { continue; }
        match.source = source.authored_index;
        for (auto const group : source.branch.authored_groups) {
            match.groups.push_back(text_of(source.whole_group + group));
        }
        if (source.branch.star_group) { match.star = text_of(source.whole_group + *source.branch.star_group); }
        break;
    }
    return match;
}

bool Pattern::treats_numbers_alike() const {
    return std::ranges::all_of(sources_, [](std::string const& s) { return shardwise::treats_numbers_alike(s); });
}

std::string normalize_target(std::string_view target) {
    if (target.starts_with('^')) { target.remove_prefix(1); }
    std::string result;
    int depth = 0;        // inside a group that is taken away or replaced
    for (std::size_t at = 0; at < target.size(); ++at) {
        char const c = target[at];
        if (c == '\\' && at + 1 < target.size()) {
            ++at;
            if (depth > 0) { continue; }
            if (target[at] != '.') { result += '\\'; }
            result += target[at];
        } else if (c == '(') {
            bool const is_look_around = target.substr(at).starts_with("(?") && !opens_capture_group(target.substr(at));
            if (depth++ == 0 && !is_look_around) { result += "\\1"; }
        } else if (c == ')' && depth > 0) {
            --depth;
        } else if (depth == 0) {
            result += c;
        }
    }
    return result;
}

std::string substitute_groups(std::string_view target, std::span<std::string_view const> groups) {
    std::string result;
    for (std::size_t at = 0; at < target.size(); ++at) {
        bool const is_reference =
            target[at] == '\\' && at + 1 < target.size() && target[at + 1] >= '1' && target[at + 1] <= '9';
        auto const group = is_reference ? static_cast<std::size_t>(target[at + 1] - '1') : 0;
        if (is_reference && group < groups.size()) {
            result += groups[group];
            ++at;
        } else {
            result += target[at];
        }
    }
    return result;
}

}  // namespace shardwise
