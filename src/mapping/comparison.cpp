#include "mapping/comparison.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "mapping/parameters.hpp"
#include "mapping/pattern.hpp"
#include "util/name_sets.hpp"
#include "util/natural_order.hpp"

namespace shardwise {
namespace {

/// Type and shape as far as they are expected. Example: "BF16 [16, 8]".
std::string describe(std::optional<DType> dtype, std::optional<Shape> const& shape) {
    return fmt::format("{}{}{}", dtype ? to_string(*dtype) : "", dtype && shape ? " " : "",
                       shape ? to_string(*shape) : "");
}

bool fits(ExpectedParameter const& expected, Parameter const& held) {
    return (!expected.dtype || *expected.dtype == held.value.dtype) &&
           (!expected.shape || *expected.shape == held.value.shape);
}

/// Quantized tensors by the names of what they stand for: their own names if they keep those, else (MXFP4) that of the
/// parameter whose codes and scales they are.
class Quantized {
   public:
    explicit Quantized(std::span<Parameter const> held) {
        for (auto const& parameter : held) {
            auto const& name = parameter.name;
            if (bits(parameter.value.dtype) > 8) { continue; }
            stands_for_.insert(name.ends_with(kBlocks) ? name.substr(0, name.size() - kBlocks.size()) : name);
        }
    }

    /// Name of the parameter that @p name is codes or scales of; empty if there is none.
    std::string of(std::string const& name) const {
        for (auto const& [suffix, instead] : kCompanions) {
            if (!name.ends_with(suffix)) { continue; }
            auto parameter = name.substr(0, name.size() - suffix.size()).append(instead);
            if (stands_for_.contains(parameter)) { return parameter; }
        }
        return {};
    }

   private:
    static constexpr std::string_view kBlocks = "_blocks";
    static constexpr std::pair<std::string_view, std::string_view> kCompanions[] = {{kBlocks, ""},
                                                                                    {"_scales", ""},
                                                                                    {"_scale_inv", ""},
                                                                                    {"_scale", ""},
                                                                                    {".scale", ".weight"},
                                                                                    {".activation_scale", ".weight"},
                                                                                    {".input_scale", ".weight"}};

    std::set<std::string> stands_for_;
};

/// Names that differ in the same way share one sentence part: "layers.{0...31}.w: BF16 [4], expected BF16 [8]".
std::string join_mismatches(std::vector<ParameterDifferences::Mismatch> const& mismatches) {
    std::vector<std::pair<std::string, std::vector<std::string>>> groups;
    for (auto const& mismatch : mismatches) {
        auto const what = fmt::format("{}, expected {}", mismatch.found, mismatch.expected);
        auto const group = std::find_if(groups.begin(), groups.end(), [&](auto const& g) { return g.first == what; });
        if (group == groups.end()) {
            groups.push_back({what, {mismatch.name}});
        } else {
            group->second.push_back(mismatch.name);
        }
    }
    std::vector<std::string> parts;
    for (auto const& [what, names] : groups) {
        parts.push_back(fmt::format("{}: {}", fmt::join(compress_names(names), ", "), what));
    }
    return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace

ParameterDifferences compare(KnownParameters const& known, std::span<Parameter const> held,
                             std::vector<std::string> const& ignored) {
    auto const& expected = known.expected;
    Quantized const quantized(known.is_users ? std::span<Parameter const>{} : held);
    ParameterDifferences differences;
    std::set<std::string> found;
    for (auto const& parameter : held) {
        auto const names = [&] {
            std::vector<std::string> all = {parameter.name};
            all.insert(all.end(), parameter.aliases.begin(), parameter.aliases.end());
            return all;
        }();
        bool is_expected = false;
        for (auto const& name : names) {
            auto const entry = expected.find(name);
            if (entry == expected.end()) { continue; }
            is_expected = true;
            found.insert(name);
            if (fits(entry->second, parameter)) { continue; }
            differences.mismatched.push_back({name, describe(parameter.value.dtype, parameter.value.shape),
                                              describe(entry->second.dtype, entry->second.shape)});
        }
        if (auto const meant = is_expected ? std::string() : quantized.of(parameter.name); expected.contains(meant)) {
            found.insert(meant);
            continue;
        }
        if (!parameter.name.starts_with(known.within)) { continue; }
        if (!is_expected) { differences.unexpected.push_back(parameter.name); }
    }
    Pattern const may_be_missing(ignored);
    for (auto const& [name, parameter] : expected) {
        bool const is_ignored = parameter.is_optional || (!ignored.empty() && may_be_missing.find(name));
        if (!found.contains(name) && !is_ignored) { differences.missing.push_back(name); }
    }
    std::sort(differences.missing.begin(), differences.missing.end(), natural_name_less);
    return differences;
}

std::vector<std::string> sentences(ParameterDifferences const& differences) {
    std::vector<std::string> result;
    auto const names = [](std::vector<std::string> const& list) {
        return fmt::format("{}", fmt::join(compress_names(list), ", "));
    };
    if (auto const& missing = differences.missing; !missing.empty()) {
        result.push_back(fmt::format("{} expected parameter(s) are missing: {}", missing.size(), names(missing)));
    }
    if (auto const& unexpected = differences.unexpected; !unexpected.empty()) {
        result.push_back(fmt::format("{} parameter(s) are not expected: {}", unexpected.size(), names(unexpected)));
    }
    if (auto const& mismatched = differences.mismatched; !mismatched.empty()) {
        result.push_back(fmt::format("{} parameter(s) are not as expected: {}", mismatched.size(),
                                     join_mismatches(mismatched)));
    }
    return result;
}

}  // namespace shardwise
