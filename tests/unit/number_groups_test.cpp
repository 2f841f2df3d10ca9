// Names that differ in their numbers only go through the rules together: they must become what they become alone.
#include "util/number_groups.hpp"

#include <map>
#include <regex>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "mapping/architecture_library.hpp"
#include "mapping/embedded_configs.hpp"
#include "mapping/mapped_names.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;

struct SourceCase {
    char const* source;
    bool is_alike;
};

TEST(Patterns, TellWhetherTheyMayLookAtWhatANumberIs) {
    constexpr SourceCase kCases[] = {
        {R"(layers\.(\d+)\.w1)", true},
        {R"(layers\.[0-9]+\.mlp)", true},
        {R"([^.]+\.fc1_)", true},
        {R"(experts.*.w2.weight)", true},
        {R"(layers\.\d{1,3}\.)", true},
        {R"(layers\.46)", false},
        {R"(layers.0.mlp)", false},
        {R"([0-3]\.mlp)", false},
        {R"([^7]\.mlp)", false},
        {R"([]a0]\.mlp)", false},
        {R"([.-z])", false},
        {R"((w|)1)", false},
        {R"(w?1)", false},
        {R"(\w1)", false},
        {R"(\x31)", false},
        {R"(1)", false},
    };
    for (auto const& [source, is_alike] : kCases) {
        EXPECT_EQ(Pattern({source}).treats_numbers_alike(), is_alike) << source;
    }
}

TEST(NumberGroups, AreNamesThatDifferInDigitsOfNumbersOnly) {
    std::vector<std::string_view> const names = {"a.1.w1", "a.2.w1", "a.10.w1", "a.1.w2", "1.2", "x.3y.4"};
    auto const groups = NumberGroups::of(names);
    ASSERT_TRUE(groups);
    EXPECT_EQ(groups->group(0), groups->group(1));
    EXPECT_EQ(groups->specimens().size(), 10U);
    EXPECT_EQ(std::string_view(groups->digits(2)), "10");
    EXPECT_EQ(std::string_view(groups->digits(4)), "12");
    EXPECT_EQ(std::string_view(groups->digits(5)), "4");
    EXPECT_FALSE(NumberGroups::of(std::vector<std::string_view>{"a.12345.b.67890.1"}));
}

// Enough names for several parts; each part meets the groups in another order.
TEST(NumberGroups, AreTheSameWhateverTheThreads) {
    std::vector<std::string> texts;
    for (int i = 0; i < 40000; ++i) { texts.push_back(fmt::format("l.{}.{}{}", i % 61, "abcde"[i / 8000], i % 7)); }
    std::vector<std::string_view> const names(texts.begin(), texts.end());
    auto const groups = NumberGroups::of(names);
    ASSERT_TRUE(groups);
    std::map<std::string, std::uint32_t> first;
    for (std::size_t i = 0; i < names.size(); ++i) {
        auto const masked = fmt::format("{} {}", i % 61 < 10, texts[i].substr(texts[i].rfind('.')));
        auto const group = first.emplace(masked, static_cast<std::uint32_t>(first.size())).first->second;
        ASSERT_EQ(groups->group(i), group) << texts[i];
        ASSERT_EQ(std::string_view(groups->digits(i)), std::to_string(i % 61));
    }
    EXPECT_EQ(groups->specimens().size(), 2 * first.size());
}

TEST(NumberGroups, FindDigitsWhereverTheyWentTo) {
    auto const text = DigitTemplate::from({"b.2.w1.01", "b.3.w1.12"});
    ASSERT_TRUE(text);
    EXPECT_EQ(text->with("789"), "b.9.w1.78");
    EXPECT_FALSE(DigitTemplate::from({"b.0", "b.2"}));
    EXPECT_FALSE(DigitTemplate::from({"b.0", "b.12"}));
    EXPECT_TRUE(differ_in_numbers_only("a.1.b2", "a.7.b2"));
    EXPECT_FALSE(differ_in_numbers_only("a.1.b2", "a.1.b3"));
}

/// Texts that are likely to be found by a source, with @p number for every number in it.
std::string likely_name(std::string source, std::string const& number) {
    source = std::regex_replace(source, std::regex(R"(\(\?[=!<][^)]*\)|[\^$()]|\\b)"), "");
    source = std::regex_replace(source, std::regex(R"(\\d[+*]?|\[0-9\][+*]?|\*)"), number);
    source = std::regex_replace(source, std::regex(R"(\\)"), "");
    return source.substr(0, source.find('|'));
}

std::vector<std::string> likely_names(std::vector<Transform> const& transforms) {
    std::vector<std::string> names;
    for (auto const& transform : transforms) {
        for (auto const& source : transform.pattern.sources()) {
            for (auto const* const number : {"0", "7", "12", "105"}) {
                auto const name = likely_name(source, number);
                names.push_back(name);
                names.push_back(fmt::format("model.layers.{}.{}.weight", number, name));
                if (transform.scope) { names.push_back(fmt::format("{}.{}.{}.bias", *transform.scope, name, number)); }
            }
        }
    }
    return names;
}

std::vector<std::string> told(MappedNames const& mapped) {
    std::vector<std::string> texts;
    for (auto const& [name, hit] : mapped.list) {
        texts.emplace_back(name);
        if (!hit) { continue; }
        auto const& place = mapped.places[hit->place];
        texts.back() += fmt::format(" by {} {} '{}' '{}' '{}' {}", place.transform, hit->source, place.prefix,
                                    place.suffix, hit->star, fmt::join(place.groups, ","));
    }
    return texts;
}

TEST(NumberGroups, NamesBecomeWhatTheyBecomeAloneByTheRulesOfEveryArchitecture) {
    std::size_t grouped = 0;
    std::size_t changed = 0;
    for (auto const& config : embedded_configs()) {
        auto const description = ArchitectureLibrary::instance().find_name(std::string(config.family));
        if (!description) { continue; }
        auto data = parse_description(*description);
        auto const names = likely_names(data.transforms);
        std::vector<std::string_view> const views(names.begin(), names.end());
        auto const together = told(map_names(data.transforms, views, data.base));
        grouped += std::ranges::all_of(data.transforms, [](Transform const& transform) {
            return transform.kind != Transform::Kind::offset_rename && transform.pattern.treats_numbers_alike();
        });
        // A rule that counts on: names no longer go together.
        data.transforms.push_back({.kind = Transform::Kind::offset_rename,
                                   .pattern = Pattern({"no name has this"}),
                                   .targets = {"x"},
                                   .operations = {},
                                   .scope = {}});
        EXPECT_EQ(together, told(map_names(data.transforms, views, data.base))) << config.name;
        for (std::size_t i = 0; i < names.size(); ++i) { changed += together[i] == names[i] ? 0 : 1; }
    }
    EXPECT_GT(grouped, 100U);
    EXPECT_GT(changed, 1000U);
}

TEST(NumberGroups, AScopeMayBeOneLayer) {
    auto const rules = parse_architecture(R"j({"family": "t", "model_types": [], "plans": {}, "transforms": [
        {"rename": "a", "to": "b", "scope": "layers.3"}]})j", "t.json");
    auto const mapped = map_names(rules.transforms, {"layers.2.a", "layers.3.a", "layers.0.a"}, "model");
    EXPECT_THAT(told(mapped), ElementsAre("layers.2.a", "layers.3.b", "layers.0.a"));
}

TEST(NumberGroups, ARuleThatPutsANumberBesideTextMayBeFollowedByOneThatLooksAtIt) {
    auto const rules = parse_architecture(R"j({"family": "t", "model_types": [], "plans": {}, "transforms": [
        {"rename": "layers\\.", "to": "layer"}, {"rename": "layer3", "to": "third"}]})j",
                                          "t.json");
    auto const mapped = map_names(rules.transforms, {"layers.2.w", "layers.3.w", "layers.4.w"}, "model");
    EXPECT_THAT(told(mapped), ElementsAre("layer2.w", "third.w", "layer4.w"));
}

}  // namespace
}  // namespace shardwise::test
