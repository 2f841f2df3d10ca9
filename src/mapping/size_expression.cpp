#include "mapping/size_expression.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

/// Recursive descent over: comparison = sum [(==|!=) sum | in name]; sum = product {(+|-) product};
/// product = atom {(*|/|%) atom}; atom = number | name | (comparison).
class Parser {
   public:
      Parser(std::string_view text, std::function<std::int64_t(std::string const&)> const& value_of,
             std::function<bool(std::string const&, std::int64_t)> const& contains)
          : text_(text), rest_(text), value_of_(value_of), contains_(contains) {}

      std::int64_t parse() {
          auto const value = comparison();
          if (!rest_.empty()) { refuse(fmt::format("'{}' is left over", rest_)); }
          return value;
    }

   private:
    [[noreturn]] void refuse(std::string const& why) const {
        throw Error(Errc::input, fmt::format("size '{}': {}", text_, why));
    }

    bool take(std::string_view token) {
        skip_spaces();
        if (!rest_.starts_with(token)) { return false; }
        rest_.remove_prefix(token.size());
        skip_spaces();
        return true;
    }

    void skip_spaces() { rest_.remove_prefix(std::min(rest_.find_first_not_of(' '), rest_.size())); }

    std::int64_t comparison() {
        auto const value = sum();
        if (take("==")) { return value == sum() ? 1 : 0; }
        if (take("!=")) { return value != sum() ? 1 : 0; }
        if (contains_ && take("in ")) { return contains_(std::string(word()), value) ? 1 : 0; }
        return value;
    }

    std::int64_t sum() {
        auto value = product();
        for (;;) {
            bool overflows = false;
            if (take("+")) {
                overflows = __builtin_add_overflow(value, product(), &value);
            } else if (take("-")) {
                overflows = __builtin_sub_overflow(value, product(), &value);
            } else {
                return value;
            }
            if (overflows) { refuse("overflows"); }
        }
    }

    std::int64_t product() {
        auto value = atom();
        for (;;) {
            if (take("*")) {
                if (__builtin_mul_overflow(value, atom(), &value)) { refuse("overflows"); }
            } else if (take("/")) {
                auto const divisor = atom();
                if (divisor == -1 && value == std::numeric_limits<std::int64_t>::min()) { refuse("overflows"); }
                if (divisor == 0 || value % divisor != 0) {
                    refuse(fmt::format("{} / {} does not come out even", value, divisor));
                }
                value /= divisor;
            } else if (take("%")) {
                auto const divisor = atom();
                if (divisor <= 0) { refuse(fmt::format("{} % {} is not defined", value, divisor)); }
                value %= divisor;
            } else {
                return value;
            }
        }
    }

    std::string_view word() {
        skip_spaces();
        auto const is_word = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '.'; };
        auto const length =
            static_cast<std::size_t>(std::find_if_not(rest_.begin(), rest_.end(), is_word) - rest_.begin());
        auto const word = rest_.substr(0, length);
        if (word.empty()) {
            refuse(rest_.empty() ? "ends too early" : fmt::format("'{}' is no name or number", rest_));
        }
        rest_.remove_prefix(length);
        return word;
    }

    std::int64_t atom() {
        constexpr int kMaxDepth = 64;
        if (take("(")) {
            if (++depth_ > kMaxDepth) { refuse("too many parentheses"); }
            auto const value = comparison();
            if (!take(")")) { refuse("a parenthesis is not closed"); }
            --depth_;
            return value;
        }
        auto const word = this->word();
        if (std::isdigit(static_cast<unsigned char>(word.front())) == 0) { return value_of_(std::string(word)); }
        std::int64_t value = 0;
        auto const [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
        if (error != std::errc{} || end != word.data() + word.size()) {
            refuse(fmt::format("'{}' is no number", word));
        }
        return value;
    }

    std::string_view text_;
    std::string_view rest_;
    std::function<std::int64_t(std::string const&)> const& value_of_;
    std::function<bool(std::string const&, std::int64_t)> const& contains_;
    int depth_ = 0;
};

}  // namespace

std::int64_t evaluate_size(std::string_view text, std::function<std::int64_t(std::string const&)> const& value_of,
                           std::function<bool(std::string const&, std::int64_t)> const& contains) {
    return Parser(text, value_of, contains).parse();
}

}  // namespace shardwise
