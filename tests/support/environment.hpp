/// @file
/// Variables of the environment that are what they were when the test is over.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace shardwise::test {

/// One variable, set or unset for as long as this lives.
class EnvironmentVariable {
   public:
    EnvironmentVariable(std::string name, std::optional<std::string> const& value) : name_(std::move(name)) {
        if (char const* const before = std::getenv(name_.c_str())) { before_ = before; }
        put(value);
    }
    EnvironmentVariable(EnvironmentVariable const&) = delete;
    EnvironmentVariable& operator=(EnvironmentVariable const&) = delete;
    ~EnvironmentVariable() { put(before_); }

   private:
    void put(std::optional<std::string> const& value) const {
        if (value) {
            ::setenv(name_.c_str(), value->c_str(), 1);
        } else {
            ::unsetenv(name_.c_str());
        }
    }

    std::string name_;
    std::optional<std::string> before_;
};

}  // namespace shardwise::test
