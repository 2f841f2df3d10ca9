/// @file
/// Matching the one exception type: kind and a fragment of the sentence.
#pragma once

#include <optional>
#include <ostream>
#include <string>

#include <gmock/gmock.h>

#include <shardwise/error.hpp>

namespace shardwise {

/// How GoogleTest shows an error.
inline void PrintTo(Error const& error, std::ostream* out) {
    *out << to_string(error.code()) << " '" << error.what() << "'";
}

namespace test {

/// What @p action throws; nothing if it returns. Any other exception passes through and fails the test.
template <class Action>
std::optional<Error> error_of(Action&& action) {
    try {
        action();
    } catch (Error const& error) { return error; }
    return std::nullopt;
}

/// Matches a std::optional<Error> that holds an error of kind @p code whose text contains @p fragment.
MATCHER_P2(IsError, code, fragment,
           std::string("is an error of kind ") + to_string(code) + " with '" + std::string(fragment) +
               "' in its text") {
    return arg && arg->code() == code && std::string(arg->what()).find(fragment) != std::string::npos;
}

}  // namespace test
}  // namespace shardwise
