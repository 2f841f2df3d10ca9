// The set of names against the standard library's.
#include "util/name_hash.hpp"

#include <random>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace shardwise::test {
namespace {

TEST(HashedNames, HoldWhatASetHolds) {
    std::mt19937 random(5);
    std::vector<std::string> names = {""};
    for (int i = 0; i < 3000; ++i) { names.push_back(fmt::format("layers.{}.weight", random() % 2000)); }
    HashedNames hashed;
    std::set<std::string_view> right;
    EXPECT_FALSE(hashed.contains("layers.1.weight"));
    for (auto const& name : names) { EXPECT_EQ(hashed.insert(name), right.insert(name).second) << name; }
    for (int i = 0; i < 2500; ++i) {
        auto const name = fmt::format("layers.{}.weight", i);
        EXPECT_EQ(hashed.contains(name), right.contains(name)) << name;
    }
    EXPECT_TRUE(hashed.contains({})) << "no text at all is the empty name";
    HashedNames const all(names.begin(), names.end());
    for (auto const& name : names) { EXPECT_TRUE(all.contains(name)); }
    EXPECT_FALSE(all.contains("layers.2000.weight"));
    EXPECT_TRUE(HashedNames().empty());
}

}  // namespace
}  // namespace shardwise::test
