#include "util/natural_order.hpp"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;

using Less = bool (*)(std::string_view, std::string_view) noexcept;

struct OrderCase {
    char const* order;
    Less less;
    std::vector<std::string> sorted;
};

/// Written by hand from the rules in natural_order.hpp.
std::vector<OrderCase> const& order_cases() {
    static std::vector<OrderCase> const kCases = {
        {"name", natural_name_less, {"a", "a.2", "a.10", "a.1x", "a.x", "a.x2", "a.x11", "b"}},
        {"name", natural_name_less, {"layers.2.w", "layers.10.w", "layers.10.w.b", "layers.x.w"}},
        {"name", natural_name_less, {"experts.9.w1", "experts.9.w2", "experts.9.w10", "experts.10.w1"}},
        {"name", natural_name_less, {"a.01", "a.1", "a.1.b", "a.002"}},
        // Longer than any integer type: compared as digit strings.
        {"name", natural_name_less, {"a.99999999999999999999999", "a.100000000000000000000000"}},
        {"file", natural_file_less, {"model-2-of-10", "model-10-of-10"}},
        {"file", natural_file_less, {"model-00001-of-2", "model-1x", "model-00002-of-2"}},
        {"file", natural_file_less, {"a", "a1b2", "a1b10", "a01b11", "a2"}},
    };
    return kCases;
}

TEST(NaturalOrder, EveryEarlierNameIsLessAndNoLaterOneIs) {
    for (auto const& test_case : order_cases()) {
        for (std::size_t i = 0; i < test_case.sorted.size(); ++i) {
            for (std::size_t j = 0; j < test_case.sorted.size(); ++j) {
                EXPECT_EQ(test_case.less(test_case.sorted[i], test_case.sorted[j]), i < j)
                    << test_case.order << " order of " << test_case.sorted[i] << " and " << test_case.sorted[j];
            }
        }
    }
}

/// Short texts over few characters, so that near-ties are frequent.
std::string random_name(std::mt19937& random) {
    static constexpr std::string_view kCharacters = "0129.ax-\xC3";
    std::string name;
    for (auto length = std::uniform_int_distribution(0, 5)(random); length > 0; --length) {
        name += kCharacters[std::uniform_int_distribution<std::size_t>(0, kCharacters.size() - 1)(random)];
    }
    return name;
}

void expect_strict_total_order(Less less) {
    std::mt19937 random(7);
    for (int i = 0; i < 200000; ++i) {
        auto const a = random_name(random);
        auto const b = random_name(random);
        auto const c = random_name(random);
        ASSERT_FALSE(less(a, a)) << a;
        ASSERT_EQ(less(a, b) + less(b, a), a == b ? 0 : 1) << a << " | " << b;
        ASSERT_TRUE(!(less(a, b) && less(b, c)) || less(a, c)) << a << " | " << b << " | " << c;
    }
}

// std::sort and binary search run off the end when an order is not strict; a partial one differs from rank to rank.
TEST(NaturalOrder, NamesHaveAStrictTotalOrder) { expect_strict_total_order(natural_name_less); }
TEST(NaturalOrder, FilesHaveAStrictTotalOrder) { expect_strict_total_order(natural_file_less); }

/// Sorting many at once goes by keys; one by one is what the other tests are about.
TEST(NaturalOrder, ManyNamesComeInTheOrderOfOneByOne) {
    std::mt19937 random(3);
    std::vector<std::string> names = {"",
                                      ".",
                                      "a.",
                                      "a",
                                      "a..b",
                                      std::string("a\0", 2),
                                      std::string("a\0b", 3),
                                      "a.01",
                                      "a.1",
                                      "layers.99999999999999999999.w",
                                      "layers.100000000000000000000.w"};
    for (int i = 0; i < 20000; ++i) { names.push_back(random_name(random) + random_name(random)); }
    std::vector<std::string_view> const views(names.begin(), names.end());
    std::vector<std::string> sorted;
    for (auto const index : natural_order(views)) { sorted.push_back(names[index]); }
    std::sort(names.begin(), names.end(), natural_name_less);
    EXPECT_EQ(sorted, names);
}

TEST(NaturalOrder, NamesMayHaveMegabytesInCommon) {
    std::string const start(4U << 20U, 'a');
    std::vector<std::string> const names = {start + ".10", start + ".9", start};
    EXPECT_THAT(natural_order(std::vector<std::string_view>(names.begin(), names.end())), ElementsAre(2U, 1U, 0U));
}

}  // namespace
}  // namespace shardwise::test
