// Lists of names in few words: exactly the names given, by expectation and by writing them out again.
#include "util/name_sets.hpp"

#include <algorithm>
#include <random>

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;
using Names = std::vector<std::string>;

std::string compressed(Names const& names) {
    auto const result = compress_names(names);
    EXPECT_EQ(result.size(), 1U);
    return result.empty() ? "" : result.front();
}

TEST(NameSets, AFewNumbersAreListed) {
    EXPECT_EQ(compressed({"layers.0.w", "layers.1.w", "layers.5.w"}), "layers.{0, 1, 5}.w");
}

TEST(NameSets, OneNameStaysAsItIs) { EXPECT_EQ(compressed({"layers.7.w"}), "layers.7.w"); }

TEST(NameSets, ManyNumbersAreRanges) {
    Names names;
    for (int layer = 0; layer < 32; ++layer) { names.push_back(fmt::format("model.layers.{}.norm.weight", layer)); }
    EXPECT_EQ(compressed(names), "model.layers.{0...31}.norm.weight");
    names.erase(names.begin() + 16);
    EXPECT_EQ(compressed(names), "model.layers.{0...15, 17...31}.norm.weight");
}

TEST(NameSets, GroupsComeInTheOrderOfTheirFirstNames) {
    EXPECT_THAT(compress_names(Names{"b.1", "a", "b.0", "c.0.x"}), ElementsAre("b.{0, 1}", "a", "c.0.x"));
}

TEST(NameSets, SeveralNumbersAreSetsOnlyIfAllCombinationsAreThere) {
    EXPECT_THAT(compress_names(Names{"l.0.e.0", "l.0.e.1", "l.1.e.0", "l.1.e.1"}), ElementsAre("l.{0, 1}.e.{0, 1}"));
    EXPECT_THAT(compress_names(Names{"l.0.e.0", "l.0.e.1", "l.1.e.0"}), ElementsAre("l.0.e.{0, 1}", "l.1.e.0"));
}

TEST(NameSets, OnlyWholeSegmentsAreNumbers) {
    EXPECT_THAT(compress_names(Names{"w1.x", "w2.x", "l.01", "l.1", "9999999999999999999999.y"}),
                ElementsAre("w1.x", "w2.x", "l.01", "l.1", "9999999999999999999999.y"));
}

TEST(NameSets, NoNamesAreNoSets) { EXPECT_TRUE(compress_names(Names{}).empty()); }

/// Writes out `a.{0, 2...4}.b` again, knowing nothing of how it was made.
void write_out(std::string const& text, Names& names) {
    auto const open = text.find('{');
    if (open == std::string::npos) { return names.push_back(text); }
    auto const close = text.find('}', open);
    auto list = text.substr(open + 1, close - open - 1) + ", ";
    for (std::size_t comma = 0; (comma = list.find(", ")) != std::string::npos; list.erase(0, comma + 2)) {
        auto const item = list.substr(0, comma);
        auto const dots = item.find("...");
        auto const first = std::stoi(item);
        auto const last = dots == std::string::npos ? first : std::stoi(item.substr(dots + 3));
        for (int i = first; i <= last; ++i) {
            write_out(text.substr(0, open) + std::to_string(i) + text.substr(close + 1), names);
        }
    }
}

TEST(NameSets, WrittenOutAgainTheyAreTheNamesGiven) {
    std::mt19937 random(7);
    for (int round = 0; round < 200; ++round) {
        Names names;
        for (int layer = 0; layer < 14; ++layer) {
            for (int expert = 0; expert < 4; ++expert) {
                if (random() % 8 != 0) { names.push_back(fmt::format("l.{}.e.{}.w", layer, expert)); }
            }
            if (random() % 3 != 0) { names.push_back(fmt::format("l.{}.norm", layer)); }
        }
        std::shuffle(names.begin(), names.end(), random);
        Names again;
        for (auto const& text : compress_names(names)) { write_out(text, again); }
        std::sort(names.begin(), names.end());
        std::sort(again.begin(), again.end());
        ASSERT_EQ(again, names);
    }
}

}  // namespace
}  // namespace shardwise::test
