#include "util/natural_order.hpp"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "util/kind_order.hpp"
#include "util/number_groups.hpp"

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

std::vector<std::string> sorted_at_once(std::vector<std::string> const& names) {
    std::vector<std::string> sorted;
    for (auto const index : natural_order(std::vector<std::string_view>(names.begin(), names.end()))) {
        sorted.push_back(names[index]);
    }
    return sorted;
}

/// Names as models have them: few kinds, and numbers that tell those of a kind apart.
std::vector<std::string> model_names(std::mt19937& random) {
    std::vector<std::string> names = {"w", "a", "a.b", "a.b.c", "a.x9", "a.x10", "a.7", "3", "3.b", "lm_head.weight"};
    for (int layer = 0; layer < 112; ++layer) {
        for (auto const* const part : {"norm", "norm.weight", "x2.w", "x10.w", "mlp.w1", "mlp.gate.w", "0", "mlp"}) {
            names.push_back(fmt::format("model.layers.{}.{}", layer, part));
        }
        for (int expert = 0; expert < 101; ++expert) {
            names.push_back(fmt::format("model.layers.{}.mlp.experts.{}.w1", layer, expert));
            names.push_back(fmt::format("model.layers.{}.mlp.experts.{}", layer, expert));
        }
    }
    std::ranges::shuffle(names, random);
    return names;
}

/// Sorting many at once goes by keys; one by one is what the other tests are about.
TEST(NaturalOrder, ManyNamesOfFewKindsComeInTheOrderOfOneByOne) {
    std::mt19937 random(5);
    auto names = model_names(random);
    auto const groups = NumberGroups::of(std::vector<std::string_view>(names.begin(), names.end()));
    ASSERT_TRUE(groups);
    ASSERT_TRUE(KindOrder::of(groups->specimens())) << "else keys are not what is looked at here";
    auto const sorted = sorted_at_once(names);
    std::ranges::sort(names, natural_name_less);
    EXPECT_EQ(sorted, names);
}

TEST(NaturalOrder, NamesThatCountAsTheSameHaveNoKeys) {
    auto const has_keys = [](std::vector<std::string_view> const& names) {
        auto const groups = NumberGroups::of(names);
        auto const kinds = groups ? KindOrder::of(groups->specimens()) : std::nullopt;
        bool is_whole = kinds.has_value();
        for (std::size_t i = 0; is_whole && i < names.size(); ++i) {
            is_whole = kinds->key(groups->group(i), groups->digits(i)).has_value();
        }
        return is_whole;
    };
    EXPECT_TRUE(has_keys({"a.0.w1", "a.10.w1", "b.1.w01"}));
    EXPECT_FALSE(has_keys({"a.1.w1", "a.1.w01"}));
    EXPECT_FALSE(has_keys({"a.1", "a.01"}));
    EXPECT_FALSE(has_keys({"a", "a."}));
    EXPECT_FALSE(has_keys({"a.123456789.12"})) << "more digits than specimens have";
    EXPECT_TRUE(has_keys({"1.2.3.4.5.6.7.8.9.0"}));
    EXPECT_FALSE(has_keys({"1.2.3.4.5.6.7.8.9.0", "99999.1", "1.99999.1", "1.2.99999", "1.2.3.99999"})) << "65 bits";
}

/// Every kind of name that there may be; some of these count as the same.
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
    auto const sorted = sorted_at_once(names);
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
